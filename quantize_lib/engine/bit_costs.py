"""What every choice of bits would cost a model, measured before anything is rounded for good.

A little calibration text goes through the blocks of the base model once, and a probe, other sequences of it,
beside it. In each block the layers that share an input are rounded to every scheme that they may have, and
how much the block's output for the probe changes with that is measured. What a change of a block's output
does to the model's predictions is seen at a few blocks: the probe goes through one of them rounded, and then
through all others as they are, to the logits. Between these blocks it is interpolated. The product is the KL
divergence that a choice is expected to add, and such parts add up
(Malinovskii et al. 2024, Pushing the Limits of Large Language Model Quantization via the Linearity Theorem,
arXiv 2411.17525, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.block_input import block_input
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock, Calibrator
from quantize_lib.engine.carried import hidden_of
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.measure import measure
from quantize_lib.engine.methods.base import rounder_of
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.settings import Scheme
from quantize_lib.metrics.kl_divergence import METRIC as KL_DIVERGENCE
from quantize_lib.reporting import Reporter
from quantize_lib.sizing import sequences_of
from quantize_lib.wording import joined

Rounded = tuple[Mapping[str, Linear], RoundedBlock]
"""Layers of a block by relative name, and what was made of them."""

_ROUNDING = Settings(method="gptq", bits=4)
"""Every choice is tried with GPTQ's rounding, whatever the cell's method: what matters is how the schemes
compare, and AWQ's codes are found in the same way."""
_TEXT_TOKENS, _PROBE_TOKENS = 4096, 1024
_REFERENCE_BITS = 3
"""Errors that are seen well in the logits, and still small."""
_SWAPS = 6
"""Blocks that are followed to the logits."""
_SEEN = 8
"""Experts of a block that the probe meets rounded."""


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """Layers that have one scheme, and what each would cost.

    Attributes:
        layers: full names.
        costs: KL divergence, in nats a token, that each scheme is expected to add.
    """

    layers: tuple[str, ...]
    costs: Mapping[Scheme, float]


@dataclass(kw_only=True)
class _Unit:
    """A unit's layers in one block.

    Attributes:
        experts: whether they are all experts' of the block.
        layers: full names.
        changes: of the block's output, as a part of it, by the scheme that they are rounded to.
        errors: sums over the layers of the relative output error.
        rounded: to the reference, by the layers' own modules; of many experts the first few.
        seen: the change that these make.
    """

    experts: bool
    layers: list[str] = field(default_factory=list)
    changes: dict[Scheme, float] = field(default_factory=dict)
    errors: dict[Scheme, float] = field(default_factory=dict)
    rounded: list[Rounded] = field(default_factory=list)
    seen: float = 0.0

    @property
    def reference(self) -> Scheme:
        """What blocks are rounded to that are followed to the logits."""
        return min(self.errors, key=lambda scheme: (abs(scheme[0] - _REFERENCE_BITS), -scheme[1]))


def measure_costs(
    model: StreamedModel,
    calibration: Tensor,
    schemes: Mapping[str, Collection[Scheme]],
    grid: Grid,
    reporter: Reporter,
) -> list[UnitCosts]:
    """Measure what each choice costs.

    Layers that share an input are one unit, as loaders compute them together, and so are all experts.

    Args:
        calibration: token ids, int64 (samples, length), of which a few sequences are taken.
        schemes: the choices of every layer, by its full name.
        grid: what the format asks of the codes.

    Raises:
        SourceError: where the base model cannot be read.
        EngineError: where a layer cannot be rounded.
    """
    length = calibration.shape[1]
    count = sequences_of(_PROBE_TOKENS, length)
    # Others than those that layers are rounded with, as far as there are more.
    probe = CarriedText(calibration[-count:], count)
    text = calibration[: min(sequences_of(_TEXT_TOKENS, length), max(1, len(calibration) - count))]
    calibrator = Calibrator(model, text, layers=schemes.keys(), folding=False)
    costs = _BitCosts(model, probe, schemes, grid)
    with torch.inference_mode():
        with model.outer():
            calibrator.begin(list)
            probe.embed(model, list)
        with (
            reporter.progress("Measuring what bits cost", len(model), "block") as progress,
            closing(calibrator.blocks(0, ahead=False)) as blocks,
        ):
            for block in blocks:
                costs.add(block)
                progress.advance()
                # Before the next one is read.
                del block
        return costs.result(reporter)


class _BitCosts:
    def __init__(
        self,
        model: StreamedModel,
        probe: CarriedText,
        schemes: Mapping[str, Collection[Scheme]],
        grid: Grid,
    ) -> None:
        self._model = model
        self._probe = probe
        self._schemes = schemes
        self._grid = grid
        self._rounder = rounder_of(get_method(_ROUNDING.method))
        last = len(model) - 1
        self._swaps = {round(number * last / (_SWAPS - 1)) for number in range(_SWAPS)}
        self._followed: dict[int, Batches] = {}
        self._blocks: dict[int, list[_Unit]] = {}

    def add(self, block: CalibratedBlock) -> None:
        """Measure a block, and take the probe and all that is followed through it."""
        probe, index = self._probe, block.index
        before = probe.hidden[0]
        after = probe.forward(block.module, index, before)
        units: dict[Hashable, _Unit] = {}
        for part in block.parts(self._schemes):
            for key, names in _together(part).items():
                unit = units.setdefault(key, _Unit(experts=part.tally is not None))
                for scheme, made in self._tries(block, part, names, unit):
                    if not unit.experts:
                        through = self._through(block, before, [made])
                        unit.changes[scheme] = _distance(through, after)
        for unit in units.values():
            if not unit.experts:
                unit.seen = unit.changes[unit.reference]
                continue
            # Of some experts one scheme is seen; other experts and schemes are as their errors are.
            unit.seen = _distance(self._through(block, before, unit.rounded), after)
            error = sum(sum(made.errors.values()) for _, made in unit.rounded)
            share = unit.seen / error if error > 0 else 0.0
            unit.changes = {scheme: share * whole for scheme, whole in unit.errors.items()}
        for hidden in self._followed.values():
            probe.advance(block.module, index, hidden)
        if index in self._swaps and units:
            everything = [one for unit in units.values() for one in unit.rounded]
            self._followed[index] = [self._through(block, before, everything)]
        for unit in units.values():
            unit.rounded.clear()
        self._blocks[index] = list(units.values())
        probe.hidden[0] = after

    def _tries(
        self, block: CalibratedBlock, part: BlockPart, names: Collection[str], unit: _Unit
    ) -> Iterator[tuple[Scheme, Rounded]]:
        """Layers rounded to every scheme that all of them may have, one after the other."""
        full = [block.names[name] for name in names]
        choices = [
            scheme
            for scheme in self._schemes[full[0]]
            if all(scheme in self._schemes[other] for other in full)
        ]
        if not choices:
            raise EngineError(
                f"{joined(full)} share an input, and no bits and group size are allowed for all of them",
                hint="Write the override's pattern so that it takes all of them or none.",
            )
        unit.layers += full
        unit.errors |= {scheme: unit.errors.get(scheme, 0.0) for scheme in choices}
        alone = replace(part, linears={name: part.linears[name] for name in names})
        for scheme in choices:
            given = block_input(block, alone, dict.fromkeys(full, scheme), self._model.disk_dtype)
            made = self._rounder.round(given, _ROUNDING, self._grid)
            unit.errors[scheme] += sum(made.errors.values())
            # There is not room for a second block of experts.
            if scheme == unit.reference and len(unit.rounded) < _SEEN:
                unit.rounded.append((alone.linears, made))
            yield scheme, (alone.linears, made)

    def _through(self, block: CalibratedBlock, before: Tensor, rounded: Iterable[Rounded]) -> Tensor:
        """The probe's states behind the block with some layers rounded."""
        with as_quantized(block.module, stored=self._model.disk_dtype) as put:
            for linears, made in rounded:
                put(linears, made)
            return self._probe.forward(block.module, block.index, before)

    def result(self, reporter: Reporter) -> list[UnitCosts]:
        """What everything costs, all experts of the model as one unit."""
        weights = self._weights(reporter)
        found: list[UnitCosts] = []
        experts: list[tuple[_Unit, float]] = []
        for index, units in self._blocks.items():
            for unit in units:
                if unit.experts:
                    experts.append((unit, weights[index]))
                else:
                    costs = {scheme: weights[index] * change for scheme, change in unit.changes.items()}
                    found.append(UnitCosts(layers=tuple(unit.layers), costs=costs))
        if experts:
            summed: dict[Scheme, float] = {}
            for unit, weight in experts:
                for scheme, change in unit.changes.items():
                    summed[scheme] = summed.get(scheme, 0.0) + weight * change
            names = tuple(name for unit, _ in experts for name in unit.layers)
            found.append(UnitCosts(layers=names, costs=summed))
        return found

    def _weights(self, reporter: Reporter) -> dict[int, float]:
        """By block, how much KL divergence a change of its output by its own size would make."""
        measured = measure(
            self._model,
            self._probe,
            {str(index): hidden for index, hidden in self._followed.items()},
            sample=0,
            reporter=reporter,
        )
        points: list[tuple[int, float]] = []
        for index in sorted(self._followed):
            divergence = float(measured.cells[str(index)][KL_DIVERGENCE.name].mean())
            change = sum(unit.seen for unit in self._blocks[index])
            if change > 0 and divergence > 0:
                points.append((index, math.log(divergence / change)))
        return {index: math.exp(_between(points, index)) for index in self._blocks}


def _together(part: BlockPart) -> dict[Hashable, list[str]]:
    """The layers of a part that have one scheme: those of one input, or all of an expert."""
    if part.tally is not None:
        return {"experts": list(part.linears)}
    found: dict[Hashable, list[str]] = {}
    for name in part.linears:
        found.setdefault(id(part.statistics[name]), []).append(name)
    return found


def _distance(changed: Tensor, original: Tensor) -> float:
    """Mean over tokens of a change, as a part of what is changed: the loud ones are no more than others."""
    new, old = hidden_of(changed).float(), hidden_of(original).float()
    tiny = torch.finfo(torch.float32).tiny
    return float(((new - old).square().sum(-1) / old.square().sum(-1).clamp_min(tiny)).mean())


def _between(points: Sequence[tuple[int, float]], index: int) -> float:
    """On the lines through points, and level beyond the last on either side."""
    if not points:
        return 0.0
    before = max((point for point in points if point[0] <= index), default=points[0])
    after = min((point for point in points if point[0] >= index), default=points[-1])
    if before[0] >= after[0]:
        return after[1] if before[0] > index else before[1]
    share = (index - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1])
