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

from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.methods.hessian import Factor, factorized
from quantize_lib.engine.precision import calibrating


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """What is rounded, and in which metric.

    Attributes:
        weight: float32 (out, in), for inputs that are divided by the scale.
        factor: of the inputs, which are not divided.
    """

    weight: Tensor
    factor: Factor


def corrected(
    weight: Tensor, drift: Drift, hessian: Tensor, scale: Tensor | None, missing: Tensor | None = None
) -> Corrected:
    """The weight that makes up for the change of its input.

    Args:
        weight: float32 (out, in), for inputs that are divided by `scale`.
        drift: of the input.
        hessian: float32 (in, in), second moment of the base's input.
        scale: float32 (in,); None for ones.
        missing: float32 (out, in), what `Drift.missing` has of these outputs; None for nothing.

    Raises:
        EngineError: for a metric that no damping makes positive definite.
    """
    with calibrating(weight.device):
        pulled = ((weight if scale is None else weight / scale) @ drift.change).float()
    if missing is not None:
        pulled += missing
    # The metric is the mean of two moments, and so half of what their sum would be as the divisor.
    pulled.div_(2)
    # A matrix is added to its transpose much faster when that is there.
    factor = factorized(torch.add(drift.change, drift.change.T.contiguous()).div_(-2).add_(hessian))
    with calibrating(weight.device):
        added = pulled.index_select(1, factor.order) @ factor.upper.T @ factor.upper
    added = added.float().index_select(1, torch.argsort(factor.order))
    return Corrected(weight=weight + (added if scale is None else added * scale), factor=factor)
