"""Sums of products of inputs, tile by tile: of XᵀX, which is symmetric, half is computed."""

from __future__ import annotations

import torch
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


def add_cross_product(sums: Tensor, x: Tensor, y: Tensor) -> None:
    """Add XᵀY. A product of all of it at once would be there twice besides, in its dtype and in float32.

    Args:
        sums: float32 (in, other), changed in place.
        x: (tokens, in).
        y: (tokens, other).
    """
    for start in range(0, len(sums), _TILE):
        tile = slice(start, start + _TILE)
        sums[tile] += x[:, tile].T @ y


def mirrored(upper: Tensor) -> Tensor:
    """The whole matrix; the upper triangle is used up."""
    whole = upper.triu_()
    return whole.add_(whole.triu(1).T)


def packed_length(width: int) -> int:
    """How many values `packed` gives: one triangle, and one more where their number would be odd."""
    values = width * (width + 1) // 2
    return values + values % 2


def packed(upper: Tensor) -> Tensor:
    """The triangle alone, row after row: float32 (packed_length(in),), on the CPU.

    Args:
        upper: float32 (in, in), of which what is below the diagonal means nothing.
    """
    upper = upper.cpu()
    width, start = len(upper), 0
    values = upper.new_zeros(packed_length(width))
    for row in range(width):
        values[start : start + width - row] = upper[row, row:]
        start += width - row
    return values


def add_packed(upper: Tensor, values: Tensor) -> None:
    """Add what `packed` gave to the tiles on and above the diagonal."""
    width, start = len(upper), 0
    for row in range(width):
        upper[row, row:] += values[start : start + width - row]
        start += width - row


def packed_diagonal(values: Tensor, width: int) -> Tensor:
    """The diagonal (in,) of what `packed` gave."""
    rows = torch.arange(width)
    return values[rows * width - rows * (rows - 1) // 2]
