"""What a layer's weight would best be, now that the quantized blocks before it changed its input.

With x the input of the base model and z that of the quantized one, ‖W·x - V·z‖² is least for
V = W + W·D·E[z·zᵀ]⁻¹ with D = E[(x - z)·zᵀ], and rounding V in the metric of z is all that is left to do: the
target of GPTAQ (Li et al. 2025, arXiv 2504.02692, section 3) in closed form. Means of z come from few tokens
here, so E[z·zᵀ] is taken together with the calibration's H, as if the base's input had been seen that often
without a change: what few tokens say for certain is corrected whole, the rest by half or not at all. In the
metric of both V is rounded.

That metric needs no sum of its own: E[z·zᵀ] = E[x·xᵀ] - D - Dᵀ - E[(x - z)·(x - z)ᵀ], and with H for E[x·xᵀ]
(E[z·zᵀ] + H)/2 = H - (D + Dᵀ)/2, but for half of the last mean. It is small, and to leave it out makes the
correction smaller, never larger. Along any direction D is at most a quarter of E[x·xᵀ].

A layer that adds to the residual stream can give back besides what that lacks: with r the stream of the base
before it adds and s the quantized model's, ‖r + W·x - s - V·z‖² is least with W·D + E[(r - s)·zᵀ] in the
place of the first product. Methods that tune a block by what it returns do so without saying it (AutoRound,
Cheng et al. 2023, arXiv 2309.05516, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.methods.hessian import Factor, factorized
from quantize_lib.engine.precision import calibrating

_TILE = 256
"""Rows and columns that are worked on at once."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Some of the outputs that read one input.

    Attributes:
        weight: float32 (out, in), for inputs that are divided by `scale`.
        scale: float32 (in,); None for ones.
        missing: float32 (out, in), what `Drift.missing` has of these outputs; None for nothing.
    """

    weight: Tensor
    scale: Tensor | None = None
    missing: Tensor | None = None


def corrected(parts: Sequence[Outputs], drift: Drift, hessian: Tensor) -> tuple[list[Tensor], Factor]:
    """The weights that make up for the change of their input.

    Args:
        drift: of the input; its change is used up.
        hessian: float32 (in, in), second moment of the base's input.

    Returns:
        The weight of each part as it is to be rounded, float32 (out, in), for inputs that are divided by its
        scale; and the factor of the metric, for inputs that are not.

    Raises:
        EngineError: for a metric that no damping makes positive definite.
    """
    pulled = [_pulled(part, drift.change) for part in parts]
    factor = factorized(_metric(drift.change, hessian))
    return [_added(part, pull, factor) for part, pull in zip(parts, pulled, strict=True)], factor


def _pulled(part: Outputs, change: Tensor) -> Tensor:
    """What a weight's products with the metric are to grow by, float32 (out, in)."""
    with calibrating(change.device):
        pulled = ((part.weight if part.scale is None else part.weight / part.scale) @ change).float()
    if part.missing is not None:
        pulled += part.missing
    # The metric is the mean of two moments, and so half of what their sum would be as the divisor.
    return pulled.div_(2)


def _metric(change: Tensor, hessian: Tensor) -> Tensor:
    """H - (D + Dᵀ)/2, in the place of D: for a wide input it is one of the largest matrices of a run."""
    for top in range(0, len(change), _TILE):
        for left in range(top, len(change), _TILE):
            here = (slice(top, top + _TILE), slice(left, left + _TILE))
            tile = (change[here] + change[here[::-1]].T).div_(-2).add_(hessian[here])
            change[here] = tile
            change[here[::-1]] = tile.T
    return change


def _added(part: Outputs, pulled: Tensor, factor: Factor) -> Tensor:
    """A weight with its correction."""
    with calibrating(pulled.device):
        added = pulled.index_select(1, factor.order) @ factor.upper.T @ factor.upper
    added = added.float().index_select(1, torch.argsort(factor.order))
    return part.weight + (added if part.scale is None else added * part.scale)
