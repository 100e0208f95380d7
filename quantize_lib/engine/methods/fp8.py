"""FP8: E4M3 weights (arXiv 2209.05433) with a scale for each output or each square block.

The relative error of a floating-point number hardly depends on its scale: what a scale decides is where in
an octave the many weights of middling size fall, and how many fall below the smallest steps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.methods.base import Rounder, Rounding
from quantize_lib.engine.methods.each_layer import EachLayer
from quantize_lib.engine.methods.floats import E4M3_MAX, check_finite, nearest_e4m3, search, to_e4m3
from quantize_lib.engine.methods.scales import storable
from quantize_lib.formats.rounded import Floats, Grid, RoundedLayer
from quantize_lib.methods import Settings
from quantize_lib.methods.fp8 import BLOCK, BLOCK_SIZE, SCALES

_OCTAVE = tuple(2 ** (step / 8) for step in range(8))
"""Candidates: the scale that just covers the largest weight, times each of these. Twice that scale gives the
same numbers, but for the smallest. On SmolLM2-135M that leaves 12 % less squared error than the first alone;
16 candidates would leave 14 %."""


class Fp8(Rounder):
    """Numbers of 8 bits, and float32 scales that are exact in float16 and bfloat16 too."""

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See `Rounder.begin`."""
        return EachLayer(block, _by_block if settings[SCALES] == BLOCK else _by_channel)


def _candidates(largest: Tensor) -> Tensor:
    return storable(torch.stack([largest / E4M3_MAX * factor for factor in _OCTAVE]))


def _by_channel(linear: LinearInput) -> RoundedLayer:
    check_finite(linear.name, linear.weight)
    scales = search(linear.weight.unsqueeze(1), _candidates, nearest_e4m3)
    return _layer(linear, scales, scales)


def _by_block(linear: LinearInput) -> RoundedLayer:
    check_finite(linear.name, linear.weight)
    rows, columns = linear.weight.shape
    scales = search(_blocks(linear.weight), _candidates, nearest_e4m3)
    spread = scales.repeat_interleave(BLOCK_SIZE, 0).repeat_interleave(BLOCK_SIZE, 1)[:rows, :columns]
    return _layer(linear, scales, spread)


def _blocks(weight: Tensor) -> Tensor:
    """(row blocks, column blocks, weights); beyond the last row and column are zeros."""
    rows, columns = weight.shape
    padded = functional.pad(weight, (0, -columns % BLOCK_SIZE, 0, -rows % BLOCK_SIZE))
    squares: Tensor = padded.unflatten(1, (-1, BLOCK_SIZE)).unflatten(0, (-1, BLOCK_SIZE)).transpose(1, 2)
    return squares.flatten(2)


def _layer(linear: LinearInput, scales: Tensor, spread: Tensor) -> RoundedLayer:
    """A layer by its scales, and by these spread over the weights, (out, in or 1)."""
    values = to_e4m3(linear.weight / spread)
    return RoundedLayer(
        weight=values.to(torch.float32) * spread,
        floats=Floats(values=values, scales=scales),
        bias=linear.bias,
    )
