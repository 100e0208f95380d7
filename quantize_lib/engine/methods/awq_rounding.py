"""Rounds one layer group by group, clipping each group where its output error falls.

Lin et al. 2023, AWQ (arXiv 2306.00978), clips each group by a search on calibration inputs. With the second
moment H of the inputs no forward is needed: a row's output error is ΔW·H·ΔWᵀ. The search looks at the block
of H that belongs to the group; whether its result is taken is decided row by row with the whole of H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.block import LinearInput
from quantize_lib.engine.methods.output_error import row_errors
from quantize_lib.engine.methods.scales import storable
from quantize_lib.formats.rounded import Grid

_SHRINKS = tuple(1.0 - 0.03 * step for step in range(16))
"""Fractions of a group's range that the search tries, the whole range first."""
_REFITS = 2
"""Rounds of fitting the scale to the codes and the codes to the scale."""
_MATRIX_GROUP = 128
"""Groups up to this size are judged with their block of H, larger ones (a whole row) with its diagonal."""
_CHUNK = 1 << 18
"""Weights that are searched at once: few enough for the caches."""


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """One layer's codes.

    Attributes:
        codes: uint8 (out, in), 0 .. 2**bits - 1.
        zeros: uint8 (out, groups).
        scales: float16 (out, groups), each value exact in bfloat16 too; negative only where symmetric.
        weight: float32 (out, in): (codes - zeros) * scales.
        error: output error tr(ΔW·H·ΔWᵀ).
    """

    codes: Tensor
    zeros: Tensor
    scales: Tensor
    weight: Tensor
    error: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a layer is rounded to.

    Attributes:
        group_size: divides the layer's inputs.
        levels: the largest code, 2**bits - 1.
        symmetric: whether every zero point is in the middle; the scale then has either sign.
        lowest_zero: the smallest zero point otherwise.
    """

    group_size: int
    levels: int
    symmetric: bool = False
    lowest_zero: int = 0

    @classmethod
    def of(cls, linear: LinearInput, grid: Grid) -> Target:
        """Of a layer in a cell whose format asks for this grid."""
        return cls(
            group_size=linear.group_inputs,
            levels=2**linear.bits - 1,
            symmetric=grid.symmetric,
            lowest_zero=grid.lowest_zero,
        )

    @property
    def middle(self) -> int:
        """The zero point of a symmetric grid."""
        return (self.levels + 1) // 2


def round_layer(weight: Tensor, hessian: Tensor, target: Target) -> Rounded:
    """Round a layer.

    Args:
        weight: float32 (out, in).
        hessian: float32 (in, in), second moment of the layer's inputs.
    """
    grouped = weight.reshape(len(weight), -1, target.group_size)
    metric = group_metric(hessian, target.group_size)
    rows = max(1, _CHUNK // weight.shape[1])
    parts = [_search(chunk.transpose(0, 1), metric, target) for chunk in grouped.split(rows)]
    searched = _assemble(parts)
    plain = _assemble([_plain(chunk.transpose(0, 1), target) for chunk in grouped.split(rows)])
    errors = [row_errors(weight - _meaning(*candidate), hessian) for candidate in (plain, searched)]
    better = (errors[1] < errors[0])[:, None]
    scales = torch.where(better, searched[0], plain[0])
    zeros = torch.where(better, searched[1], plain[1])
    codes = torch.where(better[:, :, None], searched[2], plain[2])
    return Rounded(
        codes=codes.flatten(1).to(torch.uint8),
        zeros=zeros.to(torch.uint8),
        scales=scales.to(torch.float16),
        weight=_meaning(scales, zeros, codes),
        error=float(torch.minimum(*errors).sum()),
    )


def round_to_nearest(weight: Tensor, target: Target) -> Tensor:
    """What plain rounding of the whole range of each group means: float32 (out, in)."""
    grouped = weight.reshape(len(weight), -1, target.group_size)
    return _meaning(*_assemble([_plain(grouped.transpose(0, 1), target)]))


def group_metric(hessian: Tensor, group_size: int) -> Tensor:
    """(groups, size, size) blocks of H, or its diagonal (groups, 1, size) for large groups."""
    if group_size > _MATRIX_GROUP:
        return hessian.diagonal().reshape(-1, 1, group_size)
    groups = len(hessian) // group_size
    square = hessian.reshape(groups, group_size, groups, group_size)
    return square.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()


def _range(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest weight of each group (…, 1), zero included: a zero point can only lie between."""
    return weight.amin(-1, keepdim=True).clamp_(max=0), weight.amax(-1, keepdim=True).clamp_(min=0)


def _grid(low: Tensor, high: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Scale and zero point that spread the codes over a range."""
    if target.symmetric:
        # The codes reach one step further down than up: the long end meets the larger end of the range.
        scale = storable(torch.where(high > -low, -high, -low) / target.middle)
        return scale, torch.full_like(scale, target.middle)
    scale = storable((high - low) / target.levels)
    return scale, (-low / scale).round_().clamp_(target.lowest_zero, target.levels)


def _codes(weight: Tensor, scale: Tensor, zero: Tensor, target: Target) -> Tensor:
    return (weight / scale).round_().add_(zero).clamp_(0, target.levels)


def _plain(weight: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Scales, zeros (groups, rows, 1) and codes (groups, rows, size) of the whole range."""
    scale, zero = _grid(*_range(weight), target)
    return scale, zero, _codes(weight, scale, zero, target)


def _weighted(difference: Tensor, metric: Tensor) -> Tensor:
    """ΔW times its part of H: (groups, rows, size)."""
    return difference * metric if metric.shape[1] == 1 else difference @ metric


def _search(weight: Tensor, metric: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Scales, zeros and codes of the least output error of each group; shapes as in `_plain`."""
    low, high = _range(weight)
    best_error = torch.full_like(low, torch.inf)
    best_scale, best_zero = (
        torch.ones_like(low),
        torch.full_like(low, target.middle if target.symmetric else 0),
    )

    def consider(scale: Tensor, zero: Tensor) -> None:
        difference = (_codes(weight, scale, zero, target).sub_(zero)).mul_(scale).sub_(weight)
        error = (_weighted(difference, metric) * difference).sum(-1, keepdim=True)
        better = error < best_error
        best_error.copy_(torch.where(better, error, best_error))
        best_scale.copy_(torch.where(better, scale, best_scale))
        best_zero.copy_(torch.where(better, zero, best_zero))

    for shrink in _SHRINKS:
        consider(*_grid(low * shrink, high * shrink, target))
    for _ in range(_REFITS):
        # The scale that fits the best codes by least squares, if it can be stored and still helps.
        steps = _codes(weight, best_scale, best_zero, target).sub_(best_zero)
        pulled = _weighted(steps, metric)
        power = (pulled * steps).sum(-1, keepdim=True)
        fitted = (pulled * weight).sum(-1, keepdim=True) / power
        usable = (power > 0) & ((fitted != 0) if target.symmetric else (fitted > 0))
        consider(storable(torch.where(usable, fitted, best_scale)), best_zero.clone())
    return best_scale, best_zero, _codes(weight, best_scale, best_zero, target)


def _assemble(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Chunks of rows (groups, rows, …) → scales and zeros (out, groups), codes (out, groups, size)."""
    scales, zeros, codes = (torch.cat([part[which] for part in parts], dim=1) for which in range(3))
    return scales[..., 0].T, zeros[..., 0].T, codes.transpose(0, 1)


def _meaning(scales: Tensor, zeros: Tensor, codes: Tensor) -> Tensor:
    """The weight that a loader makes of them: float32 (out, in)."""
    return ((codes - zeros[..., None]) * scales[..., None]).flatten(1)
