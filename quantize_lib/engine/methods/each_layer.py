"""What methods have in common that see one layer's weights and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection

from quantize_lib.engine.block import BlockInput, Drift, LinearInput, RoundedBlock
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.formats.rounded import RoundedLayer


class EachLayer(Rounding):
    """Layer by layer, each by itself.

    Args:
        rounded: makes a layer; raises `EngineError` where it cannot.
    """

    def __init__(self, block: BlockInput, rounded: Callable[[LinearInput], RoundedLayer]) -> None:
        self._block = block
        self._rounded = rounded

    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        """See `Rounding.round`. It makes up for nothing."""
        return RoundedBlock(layers={name: self._rounded(self._block.linears[name]) for name in names})
