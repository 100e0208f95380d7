"""A block rounded column by column, each column's error made up for by those that follow.

Source: Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers
(arXiv 2210.17323), algorithm 1 and section 3.3. Scales and zero points are fixed beforehand, in whatever way
the method has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, Drift, LinearInput, RoundedBlock
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.methods.correction import Outputs, corrected
from quantize_lib.engine.methods.folding import Folding
from quantize_lib.engine.methods.gptq_rounding import Grouping, make_grouping, round_rows
from quantize_lib.engine.methods.hessian import Factor, factorize
from quantize_lib.engine.methods.layer_checks import check_range, statistics_of
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer
from quantize_lib.methods.gptq import DAMPING

Choose = Callable[[Sequence[LinearInput], Tensor, Factor, Grouping], tuple[Tensor, Tensor]]
"""From layers of one input, their weights as they are to be rounded, one below the other, float32 (outputs of
all, in), the factor of their input and its groups to scales and zero points, float32 (outputs, groups)."""


class ColumnRounding(Rounding):
    """A block whose layers are rounded column by column.

    Args:
        folding: of the block, with whatever is folded.
        choose: finds scales and zero points.

    Raises:
        EngineError: for weights that are not finite or too large for float16 scales.
    """

    def __init__(self, block: BlockInput, grid: Grid, folding: Folding, choose: Choose) -> None:
        self._block = block
        self._grid = grid
        self._folding = folding
        self._choose = choose
        self.params = folding.params
        self.scales = folding.scales
        for name in block.linears:
            check_range(name, folding.weights[name])

    @torch.no_grad()
    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        """See `Rounding.round`; layers that share statistics, scales, bits and group size in one go.

        Raises:
            EngineError: for statistics that are not finite, a Hessian that cannot be factorized.
        """
        layers: dict[str, RoundedLayer] = {}
        errors: dict[str, float] = {}
        notes: list[str] = []
        for linears, weight, factor in self._targets(self._sharing(names), drift):
            if (scale := self._scale(linears)) is not None:
                factor = factor.of_scaled(scale)
            with one_thread(elements=_largest(linears)):
                grouping = make_grouping(factor, linears[0].group_inputs, desc_act=self._grid.reordered)
                scales, zeros = self._choose(linears, weight, factor, grouping)
                rounded = round_rows(weight, factor, grouping, scales, zeros, bits=linears[0].bits)
            notes += _notes(self._block.index, linears, factor)
            start = 0
            for linear in linears:
                stop = start + len(linear.weight)
                layer = rounded.of(start, stop)
                power = self._folding.power(linear.name)
                errors[linear.name] = float(layer.error.sum()) / power if power > 0 else 0.0
                layers[linear.name] = RoundedLayer(
                    weight=layer.weight,
                    codes=Codes(
                        bits=linear.bits,
                        values=layer.codes,
                        zeros=layer.zeros,
                        scales=layer.scales,
                        group_of=grouping.of if self._grid.reordered else None,
                    ),
                    bias=self._folding.biases.get(linear.name),
                )
                start = stop
        return RoundedBlock(layers=layers, errors=errors, notes=tuple(notes))

    def _targets(
        self, groups: Sequence[Sequence[LinearInput]], drift: Drift | None
    ) -> Iterator[tuple[Sequence[LinearInput], Tensor, Factor]]:
        """What is rounded of a group of layers, one below the other, and the factor of its input as it is.

        Args:
            drift: of the input that all of them share; it is used up.
        """
        if drift is None:
            for linears in groups:
                statistics = statistics_of(linears[0])
                with one_thread(elements=linears[0].weight.shape[1] ** 2), _named(linears[0]):
                    factor = factorize(statistics)
                yield linears, self._stacked(linears), factor
            return
        first = groups[0][0]
        with one_thread(elements=max(map(_largest, groups))), _named(first):
            weights, factor = corrected(
                [self._outputs(linears, drift) for linears in groups], drift, statistics_of(first).hessian
            )
        for linears, weight in zip(groups, weights, strict=True):
            yield linears, weight, factor

    def _outputs(self, linears: Sequence[LinearInput], drift: Drift) -> Outputs:
        return Outputs(
            weight=self._stacked(linears), scale=self._scale(linears), missing=_missing(linears, drift)
        )

    def _stacked(self, linears: Sequence[LinearInput]) -> Tensor:
        weights = [self._folding.weights[linear.name] for linear in linears]
        return torch.cat(weights) if len(weights) > 1 else weights[0]

    def _scale(self, linears: Sequence[LinearInput]) -> Tensor | None:
        return self._folding.scales.get(linears[0].name)

    def _sharing(self, names: Collection[str]) -> list[list[LinearInput]]:
        """Layers that can be rounded together."""
        groups: dict[tuple[int, int, int, int], list[LinearInput]] = {}
        for name in names:
            linear = self._block.linears[name]
            scale = self._folding.scales.get(name)
            key = (id(linear.statistics), id(scale), linear.bits, linear.group_size)
            groups.setdefault(key, []).append(linear)
        return list(groups.values())


@contextmanager
def _named(linear: LinearInput) -> Iterator[None]:
    """What is wrong inside is said of this layer."""
    try:
        yield
    except EngineError as error:
        raise EngineError(f"{linear.name}: {error.message}", hint=error.hint) from error


def _missing(linears: Sequence[LinearInput], drift: Drift) -> Tensor | None:
    """What the outputs of layers of one input are to make up for besides, (outputs of all, in)."""
    if not any(linear.name in drift.missing for linear in linears):
        return None
    parts = [
        drift.missing[linear.name] if linear.name in drift.missing else torch.zeros_like(linear.weight)
        for linear in linears
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _largest(linears: Sequence[LinearInput]) -> int:
    """Elements of the largest matrix that rounding works on: the stacked weight or the Hessian."""
    inputs = linears[0].weight.shape[1]
    return max(inputs**2, sum(linear.weight.numel() for linear in linears))


def _notes(index: int, linears: Sequence[LinearInput], factor: Factor) -> list[str]:
    names = ", ".join(linear.name for linear in linears)
    notes = []
    if factor.damping > DAMPING:
        notes.append(f"block {index}, {names}: damping had to grow to {factor.damping:g}")
    if factor.dead:
        notes.append(f"block {index}, {names}: calibration never reached {factor.dead} inputs")
    return notes
