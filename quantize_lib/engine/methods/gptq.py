"""GPTQ: columns rounded one after the other, each one's error made up for by those that follow.

Source: Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers
(arXiv 2210.17323), algorithm 1 and section 3.3. Columns go in descending order of the Hessian's diagonal with
group scales fixed beforehand, so that groups stay contiguous and no g_idx is needed at run time; with
`desc_act` the groups themselves are formed in that order. What was added and what it gains:
docs/explanation/accuracy.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from quantize_lib.engine.block import BlockInput, LinearInput, RoundedBlock, Statistics
from quantize_lib.engine.methods.base import Rounder
from quantize_lib.engine.methods.gptq_rounding import Grouping, Rounded, make_grouping, round_rows
from quantize_lib.engine.methods.hessian import Factor, factorize
from quantize_lib.engine.methods.output_error import row_powers
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer
from quantize_lib.methods import Settings
from quantize_lib.methods.gptq import DAMPING

_KEEP = "Keep the layer in full precision (modules_to_not_convert)."


class Gptq(Rounder):
    """2, 3, 4 or 8 bits, symmetric or with zero points."""

    @torch.no_grad()
    def round(self, block: BlockInput, settings: Settings, grid: Grid) -> RoundedBlock:
        """Round one block; see `Rounder.round`.

        Layers that share statistics, bits and group size are rounded in one go.

        Raises:
            EngineError: for weights or statistics that are not finite, weights too large for float16 scales,
                a Hessian that cannot be factorized.
        """
        layers: dict[str, RoundedLayer] = {}
        errors: dict[str, float] = {}
        notes: list[str] = []
        for linears in _sharing(block):
            factor = _factor(linears)
            notes += _notes(block.index, linears, factor)
            grouping = make_grouping(factor, linears[0].group_inputs, desc_act=grid.reordered)
            with one_thread(elements=_largest(linears)):
                rounded = _round(linears, factor, grouping, grid)
            start = 0
            for linear in linears:
                stop = start + len(linear.weight)
                layer = rounded.of(start, stop)
                power = float(row_powers(linear, _statistics(linear)).sum())
                errors[linear.name] = float(layer.error.sum()) / power if power > 0 else 0.0
                layers[linear.name] = RoundedLayer(
                    weight=layer.weight,
                    codes=Codes(
                        bits=linear.bits,
                        values=layer.codes,
                        zeros=layer.zeros,
                        scales=layer.scales,
                        group_of=grouping.of if grid.reordered else None,
                    ),
                    bias=linear.bias,
                )
                start = stop
        # In the model's order, whatever shares with whom.
        return RoundedBlock(
            layers={name: layers[name] for name in block.linears},
            errors={name: errors[name] for name in block.linears},
            notes=tuple(notes),
        )


def _sharing(block: BlockInput) -> list[list[LinearInput]]:
    """Layers that can be rounded together, each checked."""
    groups: dict[tuple[int, int, int], list[LinearInput]] = {}
    for linear in block.linears.values():
        _check(linear)
        groups.setdefault((id(linear.statistics), linear.bits, linear.group_size), []).append(linear)
    return list(groups.values())


def _check(linear: LinearInput) -> None:
    inputs = linear.weight.shape[1]
    if linear.group_size > 0 and inputs % linear.group_size:
        raise EngineError(f"{linear.name} has {inputs} inputs, no multiple of {linear.group_size}")
    largest = float(linear.weight.abs().max())
    # Also true for NaN, which no comparison lets through.
    if not largest <= torch.finfo(torch.float16).max:
        raise EngineError(
            f"{linear.name} has weights that are not finite or too large for float16 scales", hint=_KEEP
        )


def _statistics(linear: LinearInput) -> Statistics:
    if linear.statistics is None:
        raise EngineError(f"{linear.name} has no statistics, which GPTQ needs")
    return linear.statistics


def _factor(linears: Sequence[LinearInput]) -> Factor:
    try:
        with one_thread(elements=linears[0].weight.shape[1] ** 2):
            return factorize(_statistics(linears[0]))
    except EngineError as error:
        raise EngineError(f"{linears[0].name}: {error.message}", hint=error.hint) from error


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


def _round(linears: Sequence[LinearInput], factor: Factor, grouping: Grouping, grid: Grid) -> Rounded:
    """All outputs of layers that share their inputs, one layer below the other."""
    weight = torch.cat([linear.weight for linear in linears]) if len(linears) > 1 else linears[0].weight
    return round_rows(weight, factor, grouping, bits=linears[0].bits, grid=grid)
