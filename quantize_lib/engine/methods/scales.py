"""Group scales and zero points fixed before rounding, by a search that knows how much each input matters.

The codes of a symmetric grid reach one step further down than up (-8 .. 7 for 4 bits). So the sign of the
scale is searched too: with a negative scale the long end meets the group's largest weight, whatever its sign
(llama.cpp's Q4_0 and AutoRound's full-range symmetric grid do the same; every kernel multiplies with the
signed float16).
"""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.formats.rounded import Grid

SHRINK = tuple(0.50 + 0.05 * step for step in range(11))
"""Candidates: the scale that just covers the group's range, times each of these."""

_CHUNK = 1 << 17
"""Weights per step of the search, so that its temporaries stay in the processor's second cache."""

_SMALLEST = 2.0**-24
"""The smallest positive float16."""
_LARGEST = 65280.0
"""The largest number that is exact in both float16 and bfloat16."""


def storable(scales: Tensor) -> Tensor:
    """Scales as the checkpoint holds them, in float32: exact in float16 and in bfloat16, never zero.

    The checkpoint stores float16; who runs the model in bfloat16 casts them. With scales exact in both, that
    changes no weight's scale (it costs 0.1 % of output error at 4 bits; see docs/explanation/accuracy.md).
    """
    magnitude = scales.abs().clamp(_SMALLEST, _LARGEST).to(torch.bfloat16).to(torch.float16)
    return torch.copysign(magnitude.to(torch.float32), scales)


def search_scales(weight: Tensor, importance: Tensor, *, bits: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Choose each group's scale and zero point: least squared rounding error, weighted with `importance`.

    Args:
        weight: float32 (out, groups, group size).
        importance: float32 (groups, group size), positive.
        bits: 2, 3, 4 or 8.
        grid: one zero point, 2**(bits - 1), for all where it is symmetric; otherwise each group's own.

    Returns:
        scales (out, groups), float16 numbers in float32; zeros (out, groups), whole numbers in
        `lowest_zero` .. 2**bits - 1.
    """
    rows, groups, size = weight.shape
    scales = torch.empty(rows, groups, dtype=torch.float32, device=weight.device)
    zeros = torch.empty_like(scales)
    # A GPU has no use for small steps; there, memory is what bounds them.
    step = max(1, (_CHUNK if weight.device.type == "cpu" else _CHUNK << 7) // (groups * size))
    with one_thread():
        for start in range(0, rows, step):
            search = _Search(
                weight[start : start + step], importance, maxq=2**bits - 1, lowest_zero=grid.lowest_zero
            )
            if grid.symmetric:
                search.symmetric()
            else:
                search.asymmetric()
            scales[start : start + step] = search.scale
            zeros[start : start + step] = search.zero
    return scales, zeros


class _Search:
    """The best scale and zero point so far of some rows' groups."""

    def __init__(self, weight: Tensor, importance: Tensor, maxq: int, lowest_zero: int) -> None:
        self._weight = weight
        self._importance = importance
        self._maxq = maxq
        self._lowest_zero = lowest_zero
        self._scratch = torch.empty_like(weight)
        self.error = torch.full(weight.shape[:2], torch.inf, device=weight.device)
        self.scale = torch.ones_like(self.error)
        self.zero = torch.full_like(self.error, (maxq + 1) // 2)

    def symmetric(self) -> None:
        """Search with the zero point in the middle, the scale of either sign."""
        cover = self._weight.abs().amax(-1) / (self._maxq / 2)
        scales = storable(torch.stack([cover * shrink for shrink in SHRINK]))
        inverses = scales.reciprocal()
        middle = (self._maxq + 1) // 2
        errors = []
        rounded = torch.empty_like(self._weight)
        for scale, inverse in zip(scales, inverses, strict=True):
            # Both signs share the division: with a negative scale the codes are the same, mirrored.
            torch.mul(self._weight, inverse.unsqueeze(-1), out=rounded).round_()
            for low in (-middle, middle - self._maxq):
                codes = torch.clamp(rounded, min=low, max=low + self._maxq, out=self._scratch)
                errors.append(self._error(codes, scale))
        self.error, best = torch.stack(errors).min(0)
        chosen = scales.gather(0, (best // 2).unsqueeze(0)).squeeze(0)
        self.scale = torch.where(best % 2 == 0, chosen, -chosen)
        self._refine()

    def asymmetric(self) -> None:
        """Search with a zero point of each group's own; zero itself is always on the grid."""
        low = self._weight.amin(-1).clamp(max=0)
        cover = (self._weight.amax(-1).clamp(min=0) - low) / self._maxq
        for shrink in SHRINK:
            scale = storable(cover * shrink)
            self._consider(scale, self._valid(torch.round(-low * shrink / scale)))
        for shift in (-1.0, 1.0):
            self._refine()
            self._consider(self.scale, self._valid(self.zero + shift))
        self._refine()

    def _valid(self, zero: Tensor) -> Tensor:
        return zero.clamp(self._lowest_zero, self._maxq)

    def _codes(self, scale: Tensor, zero: Tensor) -> Tensor:
        """Codes minus zero point; lives in the scratch buffer.

        Shifted there and back: a number clamps ten times as fast as bounds of each group's own.
        """
        shift = zero.unsqueeze(-1)
        scratch = torch.mul(self._weight, scale.reciprocal().unsqueeze(-1), out=self._scratch).round_()
        return scratch.add_(shift).clamp_(0, self._maxq).sub_(shift)

    def _error(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Weighted squared error of each group, (out, groups); overwrites the codes."""
        difference = codes.mul_(scale.unsqueeze(-1)).sub_(self._weight)
        return difference.square_().mul_(self._importance).sum(-1)

    def _consider(self, scale: Tensor, zero: Tensor) -> None:
        error = self._error(self._codes(scale, zero), scale)
        better = error < self.error
        self.error = torch.where(better, error, self.error)
        self.scale = torch.where(better, scale, self.scale)
        self.zero = torch.where(better, zero, self.zero)

    def _refine(self) -> None:
        """The least-squares scale of the best codes so far, in closed form."""
        codes = self._codes(self.scale, self.zero)
        weighted = codes * self._importance
        norm = torch.linalg.vecdot(weighted, codes)
        fitted = torch.linalg.vecdot(weighted, self._weight) / norm
        self._consider(storable(torch.where(norm > 0, fitted, self.scale)), self.zero)
