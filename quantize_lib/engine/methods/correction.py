"""What a layer's weight would best be, now that the quantized blocks before it changed its input.

With x the input of the base model and z that of the quantized one, ‖W·x - V·z‖² is least for
V = W + W·E[(x - z)·zᵀ]·E[z·zᵀ]⁻¹, and rounding V in the metric of z is all that is left to do: the target of
GPTAQ (Li et al. 2025, arXiv 2504.02692, section 3) in closed form. Both means come from few tokens here, so
E[z·zᵀ] is taken together with the calibration's H, as if the base's input had been seen that often without a
change: what few tokens say for certain is corrected whole, the rest by half or not at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.methods.hessian import FLOOR
from quantize_lib.engine.precision import calibrating, factor_dtype
from quantize_lib.engine.second_moment import add_product, mirrored
from quantize_lib.methods.gptq import DAMPING


def corrected(weight: Tensor, drift: Drift, hessian: Tensor, scale: Tensor | None) -> Tensor:
    """The weight that makes up for the change of its input.

    Args:
        weight: float32 (out, in), for inputs that are divided by `scale`.
        drift: of the input; `carried` is divided by `scale`, too.
        hessian: float32 (in, in), second moment of the base's input.
        scale: float32 (in,); None for ones.

    Returns:
        float32 (out, in), for inputs that are divided by `scale`; the weight itself where the tokens do not
        say what it should be.
    """
    carried = drift.carried if scale is None else drift.carried * scale
    plain = weight if scale is None else weight / scale
    tokens = len(carried)
    moment = torch.zeros_like(hessian)
    change = drift.original - carried
    # Of the two ways through three matrices the one with fewer operations.
    by_outputs = len(plain) * 2 < change.shape[1] + len(plain) * change.shape[1] / tokens
    with calibrating(weight.device):
        factor = carried.to(factor_dtype(weight.device))
        add_product(moment, factor)
        pulled = (change @ plain.T).T @ factor if by_outputs else plain @ (change.T @ factor)
    moment = mirrored(moment).div_(tokens).add_(hessian)
    diagonal = moment.diagonal()
    diagonal.add_(DAMPING * diagonal + FLOOR * diagonal.mean())
    lower, info = torch.linalg.cholesky_ex(moment)
    if int(info) != 0:
        return weight
    added = torch.cholesky_solve(pulled.float().div_(tokens).T, lower).T
    if not bool(torch.isfinite(added).all()):
        return weight
    return weight + (added if scale is None else added * scale)
