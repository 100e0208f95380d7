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

    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        return self.column_bytes(shape, settings)

    def kept_bytes(self, shape: InputShape, settings: Settings) -> int:
        # A factor stays with the statistics, for all cells that do not correct the input.
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

    def column_bytes(
        self, shape: InputShape, settings: Settings, *, scaled: bool = False, choosing: int = 0
    ) -> int:
        """Memory that the columns of the layers of one input are rounded with, beside their weights.

        Args:
            scaled: whether the input is scaled, so that its factor is, too.
            choosing: what the grids of the codes are chosen with.
        """
        corrected = self.carried_tokens(settings) > 0
        stacked = shape.layers > 1
        # The metric of each cell is its own: it stays where it was put together beside its factor.
        held = (scaled + 2 * corrected) * shape.square
        # Layers of one input as one matrix, and of its size the result, the error, its product, and codes as
        # bytes.
        rounding = round((3.25 + stacked) * shape.together)
        # While a factor is computed, two matrices, one of them counted with the factors; of a metric three,
        # and of the weights' size what they are multiplied to.
        factoring = shape.square
        if corrected:
            making = 3 * shape.square + (1 + stacked) * shape.together
            factoring = max(making, 2 * shape.square + (4 + stacked) * shape.together)
        return max(factoring, held + max(rounding, choosing))
