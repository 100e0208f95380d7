"""How it is measured what the choices of a cell's layers cost."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.formats.rounded import Grid
from quantize_lib.methods.settings import LayerWidth


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What layers are rounded by; cells with the same one are measured together.

    Attributes:
        method: the name of the method.
        grid: what the format asks of its codes.
        kinds: the types that tensors may have of their own, with about how many bits each has; empty where
            layers have bits and group sizes.
    """

    method: str
    grid: Grid
    kinds: tuple[tuple[str, int], ...] = ()

    def bits(self, width: LayerWidth) -> int:
        """About how many bits a weight has."""
        return dict(self.kinds)[width] if isinstance(width, str) else width[0]
