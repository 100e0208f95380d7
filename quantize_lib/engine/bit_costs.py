"""What every choice of bits or types would cost a model, measured before anything is rounded for good.

A little calibration text goes through the blocks of the base model once, and a probe, other sequences of it,
beside it. In each block the layers that share an input are rounded to everything that they may have, and how
much the block's output for the probe changes with that is measured; types of tensors are told apart in a way
of their own (`type_costs`, `outside_costs`). What a change of a block's output does to the predictions is
seen at a few blocks: the probe goes through one of them rounded, and then through all others as they are, to
the logits. Between these blocks it is interpolated. The product is the KL divergence that a choice is
expected to add, and such parts add up (Malinovskii et al. 2024, Pushing the Limits of Large Language Model
Quantization via the Linearity Theorem, arXiv 2411.17525, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from quantize_lib.engine.block_input import block_input
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock, Calibrator
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.cost_units import REFERENCE_BITS, Rounded, Unit, distance
from quantize_lib.engine.measure import measure
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.outside_costs import OutsideCosts
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.engine.trial_rounder import TrialRounder
from quantize_lib.engine.type_costs import TypeTrials
from quantize_lib.errors import EngineError
from quantize_lib.formats.trial import Trial
from quantize_lib.methods.settings import LayerWidth
from quantize_lib.metrics.kl_divergence import METRIC as KL_DIVERGENCE
from quantize_lib.reporting import Reporter
from quantize_lib.sizing import sequences_of
from quantize_lib.wording import joined

_TEXT_TOKENS, _PROBE_TOKENS = 4096, 1024
_SWAPS = 6
"""Blocks that are followed to the logits."""
_SEEN = 8
"""Experts of a block that the probe meets rounded."""


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """Layers that have the same, and what that would cost.

    Attributes:
        layers: full names.
        costs: KL divergence, in nats a token, that each of their choices is expected to add.
    """

    layers: tuple[str, ...]
    costs: Mapping[LayerWidth, float]


def measure_costs(
    model: StreamedModel,
    calibration: Tensor,
    choices: Mapping[str, Collection[LayerWidth]],
    trial: Trial,
    reporter: Reporter,
) -> list[UnitCosts]:
    """Measure what each choice costs.

    Layers that share an input are one unit, as loaders compute them together, and so are all experts. Where
    tensors have types, each is a unit by itself, those outside the blocks as well.

    Args:
        calibration: token ids, int64 (samples, length), of which a few sequences are taken.
        choices: of every layer, by its full name.
        trial: what they are rounded by.

    Raises:
        SourceError: where the base model cannot be read.
        EngineError: where a layer cannot be rounded.
    """
    length = calibration.shape[1]
    count = sequences_of(_PROBE_TOKENS, length)
    # Others than those that layers are rounded with, as far as there are more.
    probe = CarriedText(calibration[-count:], count)
    text = calibration[: min(sequences_of(_TEXT_TOKENS, length), max(1, len(calibration) - count))]
    calibrator = Calibrator(model, text, layers=choices.keys(), folding=False)
    costs = _BitCosts(model, probe, choices, trial)
    with torch.inference_mode():
        with model.outer():
            calibrator.begin(list)
            probe.embed(model, list)
            costs.outside.embed()
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
        choices: Mapping[str, Collection[LayerWidth]],
        trial: Trial,
    ) -> None:
        self._model = model
        self._probe = probe
        self._choices = choices
        self._rounder = TrialRounder(trial, model.disk_dtype)
        self._types = TypeTrials(choices, self._rounder) if trial.kinds else None
        self.outside = OutsideCosts(model, probe, choices, self._rounder)
        last = len(model) - 1
        self._swaps = {round(number * last / (_SWAPS - 1)) for number in range(_SWAPS)}
        self._followed: dict[int, Batches] = {}
        self._blocks: dict[int, list[Unit]] = {}

    def add(self, block: CalibratedBlock) -> None:
        """Measure a block, and take the probe and all that is followed through it."""
        probe, index = self._probe, block.index
        before = probe.hidden[0]
        after = probe.forward(block.module, index, before)
        units: dict[Hashable, Unit] = {}
        for part in block.parts(self._choices):
            if self._types is not None:
                through = partial(self._through, block, before)
                units.update(self._types.units(block, part, through, after))
                continue
            for key, names in _together(part).items():
                unit = units.setdefault(key, Unit(experts=part.tally is not None))
                for width, made in self._tries(block, part, names, unit):
                    if not unit.experts:
                        unit.changes[width] = distance(self._through(block, before, [made]), after)
        for unit in units.values():
            if not unit.experts:
                unit.seen = unit.changes[unit.reference]
                continue
            # Of some experts one choice is seen; other experts and choices are as their errors are.
            unit.seen = distance(self._through(block, before, unit.rounded), after)
            error = sum(sum(made.errors.values()) for _, made in unit.rounded)
            share = unit.seen / error if error > 0 else 0.0
            unit.changes = {width: share * whole for width, whole in unit.errors.items()}
        for hidden in self._followed.values():
            probe.advance(block.module, index, hidden)
        self.outside.advance(block.module, index)
        if index in self._swaps and units:
            everything = [one for unit in units.values() for one in unit.rounded]
            self._followed[index] = [self._through(block, before, everything)]
        for unit in units.values():
            unit.rounded.clear()
        self._blocks[index] = list(units.values())
        probe.hidden[0] = after

    def _tries(
        self, block: CalibratedBlock, part: BlockPart, names: Collection[str], unit: Unit
    ) -> Iterator[tuple[LayerWidth, Rounded]]:
        """Layers rounded to every scheme that all of them may have, one after the other."""
        full = [block.names[name] for name in names]
        choices = [
            scheme
            for scheme in self._choices[full[0]]
            if not isinstance(scheme, str) and all(scheme in self._choices[other] for other in full)
        ]
        if not choices:
            raise EngineError(
                f"{joined(full)} share an input, and no bits and group size are allowed for all of them",
                hint="Write the override's pattern so that it takes all of them or none.",
            )
        unit.layers += full
        unit.errors |= {scheme: unit.errors.get(scheme, 0.0) for scheme in choices}
        unit.reference = min(choices, key=lambda scheme: (abs(scheme[0] - REFERENCE_BITS), -scheme[1]))
        alone = replace(part, linears={name: part.linears[name] for name in names})
        for scheme in choices:
            given = block_input(block, alone, dict.fromkeys(full, scheme), self._rounder.dtype)
            made = self._rounder.round(given)
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
        followed = {str(index): hidden for index, hidden in self._followed.items()}
        measured = measure(
            self._model,
            self._probe,
            {**followed, **self.outside.carried()},
            outside=self.outside.replaced(),
            sample=0,
            reporter=reporter,
        )
        divergences = {key: float(of[KL_DIVERGENCE.name].mean()) for key, of in measured.cells.items()}
        weights = self._weights(divergences)
        found = [UnitCosts(layers=(name,), costs=costs) for name, costs in self.outside.costs(divergences)]
        experts: list[tuple[Unit, float]] = []
        for index, units in self._blocks.items():
            for unit in units:
                if unit.experts:
                    experts.append((unit, weights[index]))
                else:
                    costs = {width: weights[index] * change for width, change in unit.changes.items()}
                    found.append(UnitCosts(layers=tuple(unit.layers), costs=costs))
        if experts:
            summed: dict[LayerWidth, float] = {}
            for unit, weight in experts:
                for width, change in unit.changes.items():
                    summed[width] = summed.get(width, 0.0) + weight * change
            names = tuple(name for unit, _ in experts for name in unit.layers)
            found.append(UnitCosts(layers=names, costs=summed))
        return found

    def _weights(self, divergences: Mapping[str, float]) -> dict[int, float]:
        """By block, how much KL divergence a change of its output by its own size would make.

        Args:
            divergences: measured where a block was followed to the logits, by its number.
        """
        points: list[tuple[int, float]] = []
        for index in sorted(self._followed):
            divergence = divergences[str(index)]
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
