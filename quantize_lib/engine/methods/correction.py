"""What a layer's weight would best be, now that the quantized blocks before it changed its input.

With x the input of the base model and z that of the quantized one, ‖W·x - V·z‖² is least for
V = W + W·E[(x - z)·zᵀ]·E[z·zᵀ]⁻¹, and rounding V in the metric of z is all that is left to do: the target of
GPTAQ (Li et al. 2025, arXiv 2504.02692, section 3) in closed form. Both means come from few tokens here, so
E[z·zᵀ] is taken together with the calibration's H, as if the base's input had been seen that often without a
change: what few tokens say for certain is corrected whole, the rest by half or not at all. In the metric of
both V is rounded.

A layer that adds to the residual stream can give back besides what that lacks: with r the stream of the base
before it adds and s the quantized model's, ‖r + W·x - s - V·z‖² is least with W·E[(x - z)·zᵀ] + E[(r - s)·zᵀ]
in the place of the first product. Methods that tune a block by what it returns do so without saying it
(AutoRound, Cheng et al. 2023, arXiv 2309.05516, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.methods.hessian import Factor, factorized
from quantize_lib.engine.precision import calibrating, factor_dtype
from quantize_lib.engine.second_moment import add_product, mirrored

_TOKENS = 4096
"""Tokens that are in float32 at a time."""


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
) -> Corrected | None:
    """The weight that makes up for the change of its input.

    Args:
        weight: float32 (out, in), for inputs that are divided by `scale`.
        drift: of the input; `carried` is divided by `scale`, too.
        hessian: float32 (in, in), second moment of the base's input.
        scale: float32 (in,); None for ones.
        missing: float32 (tokens, out), what the output is to have besides; None for nothing.

    Returns:
        None where nothing changed, and where the tokens do not say what it should be.
    """
    if missing is None and torch.equal(drift.original, drift.carried):
        return None
    plain = weight if scale is None else weight / scale
    tokens, inputs = drift.carried.shape
    moment, pulled = torch.zeros_like(hessian), torch.zeros_like(plain)
    # Of the two ways through three matrices the one with fewer operations.
    by_outputs = missing is not None or len(plain) * 2 < inputs + len(plain) * inputs / tokens
    with calibrating(weight.device):
        for start in range(0, tokens, _TOKENS):
            some = slice(start, start + _TOKENS)
            carried = drift.carried[some].float()
            if scale is not None:
                carried = carried * scale
            change = drift.original[some].float() - carried
            factor = carried.to(factor_dtype(weight.device))
            add_product(moment, factor)
            if by_outputs:
                wanted = change @ plain.T
                pulled += (wanted if missing is None else missing[some] + wanted).T @ factor
            else:
                pulled += plain @ (change.T @ factor)
    # The mean of both moments, and so half of what the sum of them would be the divisor of.
    moment = mirrored(moment).div_(tokens).add_(hessian).div_(2)
    pulled.div_(2 * tokens)
    if not bool(torch.isfinite(moment.sum() + pulled.sum())):
        return None
    metric = factorized(moment)
    del moment
    added = torch.empty_like(pulled)
    added[:, metric.order] = pulled[:, metric.order] @ metric.upper.T @ metric.upper
    return Corrected(weight=weight + (added if scale is None else added * scale), factor=metric)
