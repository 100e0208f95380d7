"""What methods have in common that round column by column, whichever way they choose the scales."""

from __future__ import annotations

from quantize_lib.methods.common import BEST, EFFORT, FAST, STANDARD
from quantize_lib.methods.entry import InputShape, Method
from quantize_lib.methods.settings import Settings

_SMALL_ERRORS = 8
"""Bits from which errors are so small that few tokens say more of chance than of them: layers of 8 bits that
made up for them were worse than nothing in mixtures, where a token may be sent to another expert."""

_CARRIED_TOKENS = {FAST: 0, STANDARD: 16384, BEST: 65536}
"""By effort. They take time for each cell, and there is memory for all of them at once."""

_LEARNED_BITS = 3
"""Up to which scales that are learned gain more than noise."""


class ColumnMethod(Method):
    """A method whose layers can make up for the errors of the quantized blocks before them."""

    def carried_tokens(self, settings: Settings) -> int:
        return _CARRIED_TOKENS[settings[EFFORT]] if settings.bits < _SMALL_ERRORS else 0

    def factor_bytes(self, shape: InputShape, settings: Settings) -> int:
        """Of a factor that is kept with the statistics, for all cells that do not correct the input."""
        return 0 if self.carried_tokens(settings) else shape.square

    def remark(self, settings: Settings) -> str | None:
        if not self.learns_scales(settings):
            return None
        return (
            "Where a block has no quantized experts and its class can be differentiated, its scales were "
            "then moved a little, so that it returns what the base model's block does."
        )

    def learns_scales(self, settings: Settings) -> bool:
        return settings[EFFORT] == BEST and settings.bits <= _LEARNED_BITS


def column_bytes(shape: InputShape, *, scaled: bool, corrected: bool) -> int:
    """Memory that the columns of the layers of one input are rounded with, beside their weights.

    Args:
        scaled: whether the input is scaled, so that its factor is, too.
        corrected: whether they make up for the errors of quantized blocks before.
    """
    # While the factor is computed, two matrices (one of them counted with the factors). Then layers of one
    # input as one matrix, and of its size the result, the error, its product, and codes as bytes.
    stacked = shape.layers > 1
    rounding = round((3.25 + stacked) * shape.together) + scaled * shape.square
    if not corrected:
        return max(shape.square, rounding)
    # The metric of each cell is its own: it stays where it was put together beside its factor. Before that
    # there are three matrices, and of the weights' size what they are multiplied to.
    factoring = 3 * shape.square + (1 + stacked) * shape.together
    multiplying = 2 * shape.square + (4 + stacked) * shape.together
    return max(factoring, multiplying, rounding + 2 * shape.square)
