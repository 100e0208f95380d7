"""XᵀX, of which half is computed: it is symmetric."""

from __future__ import annotations

from torch import Tensor

_TILE = 256
"""Columns per tile: large enough for full matrix-product speed, small enough to skip a half."""


def add_product(upper: Tensor, x: Tensor) -> None:
    """Add XᵀX to the tiles on and above the diagonal.

    Args:
        upper: float32 (in, in), changed in place; below the diagonal it means nothing.
        x: (tokens, in).
    """
    width = x.shape[1]
    for start in range(0, width, _TILE):
        stop = min(start + _TILE, width)
        upper[start:stop, start:] += x[:, start:stop].T @ x[:, start:]


def mirrored(upper: Tensor) -> Tensor:
    """The whole matrix; the upper triangle is used up."""
    whole = upper.triu_()
    return whole.add_(whole.triu(1).T)
