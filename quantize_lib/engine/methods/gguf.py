"""GGUF's blocks: every layer by itself, in the type that llama.cpp's mix gives it.

K-quants, blocks with shared scales and minima, are llama.cpp's (pull request 1684, 2023); its importance
matrix (pull request 4861, 2024) is the mean of each squared input: the diagonal of XᵀX/n.
"""

from __future__ import annotations

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.methods.base import Rounder, Rounding
from quantize_lib.engine.methods.each_layer import EachLayer
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Grid, RoundedLayer
from quantize_lib.gguf_file.blocks import from_blocks, to_blocks
from quantize_lib.methods import Settings


class Gguf(Rounder):
    """Bytes as llama.cpp makes them of the same weights and importance."""

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See `Rounder.begin`."""
        return EachLayer(block, _rounded)


def _rounded(linear: LinearInput) -> RoundedLayer:
    importance = None if linear.statistics is None else linear.statistics.hessian.diagonal()
    try:
        blocks = to_blocks(linear.weight, linear.kind, importance)
    except EngineError as error:
        raise EngineError(f"{linear.name}: {error.message}", hint=error.hint) from error
    return RoundedLayer(
        weight=from_blocks(blocks, linear.kind).to(linear.weight.device),
        parts={"weight": blocks},
        bias=linear.bias,
    )
