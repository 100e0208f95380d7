"""GPTQ's rounding (Frantar et al. 2022, arXiv 2210.17323), blocked, with two refinements of the result.

Everything here is transposed and permuted: a row is one input channel over all outputs, (in, out), in
processing order, so that each step of the column loop reads and writes contiguous memory. Codes are held
minus their zero point; the weight they mean is code × scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.methods.hessian import Factor
from quantize_lib.engine.methods.scales import storable
from quantize_lib.engine.methods.threads import one_thread

BLOCK = 128
"""Input channels between two updates of all the rest (GPTQ, section 3.3, step 2)."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What codes mean.

    Attributes:
        scales: float32 (groups, out), float16 numbers.
        zeros: whole numbers (groups, out).
        group_of: int64 (in,), the group of each row.
        maxq: 2**bits - 1.
    """

    scales: Tensor
    zeros: Tensor
    group_of: Tensor
    maxq: int

    def limits(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest code minus zero point, each (groups, out)."""
        return -self.zeros, self.maxq - self.zeros

    def dequantize(self, codes: Tensor) -> Tensor:
        """The weights that codes mean, (in, out)."""
        return codes * self.scales[self.group_of]


def round_columns(weight: Tensor, factor: Factor, grid: Grid) -> Tensor:
    """Round row by row, each row's error made up for by the rows after it (GPTQ, algorithm 1).

    Args:
        weight: float32 (in, out); used as scratch memory.

    Returns:
        codes minus zero point, float32 (in, out).
    """
    upper = factor.upper
    pivots = upper.diagonal().tolist()
    groups = grid.group_of.tolist()
    inverse = grid.scales.reciprocal()
    low, high = grid.limits()
    codes = torch.empty_like(weight)
    errors = torch.empty(min(BLOCK, len(weight)), weight.shape[1], dtype=weight.dtype, device=weight.device)
    for start in range(0, len(weight), BLOCK):
        stop = min(start + BLOCK, len(weight))
        # Column i of U, as a contiguous row: how much of the earlier rows' errors row i has to take.
        shares = upper[start:stop, start:stop].T.contiguous()
        with one_thread():
            for row in range(start, stop):
                done, group = row - start, groups[row]
                target = weight[row]
                if done:
                    target = torch.addmv(target, errors[:done].T, shares[done, :done], alpha=-1)
                code = torch.mul(target, inverse[group], out=codes[row]).round_()
                torch.clamp(code, min=low[group], max=high[group], out=code)
                error = torch.addcmul(target, code, grid.scales[group], value=-1, out=errors[done])
                error.div_(pivots[row])
        if stop < len(weight):
            weight[stop:].addmm_(upper[start:stop, stop:].T, errors[: stop - start], alpha=-1)
    return codes


def sweep(codes: Tensor, gradient: Tensor, factor: Factor, grid: Grid) -> None:
    """One sweep of coordinate descent: each code moves to where the output error is least, the others fixed.

    Args:
        codes: minus zero point, (in, out); changed in place.
        gradient: hessian · (dequantized - weight), (in, out); kept up to date in place.
    """
    hessian = factor.hessian
    curvature = hessian.diagonal().tolist()
    groups = grid.group_of.tolist()
    inverse = grid.scales.reciprocal()
    low, high = grid.limits()
    moves = torch.empty(min(BLOCK, len(codes)), codes.shape[1], dtype=codes.dtype, device=codes.device)
    for start in range(0, len(codes), BLOCK):
        stop = min(start + BLOCK, len(codes))
        inner = hessian[start:stop, start:stop].contiguous()
        with one_thread():
            for row in range(start, stop):
                done, group = row - start, groups[row]
                slope = gradient[row]
                if done:
                    slope = torch.addmv(slope, moves[:done].T, inner[done, :done])
                code = torch.addcmul(codes[row], slope, inverse[group], value=-1 / curvature[row]).round_()
                torch.clamp(code, min=low[group], max=high[group], out=code)
                torch.sub(code, codes[row], out=moves[done]).mul_(grid.scales[group])
                codes[row] = code
        gradient.addmm_(hessian[:, start:stop], moves[: stop - start])


def refit_scales(codes: Tensor, gradient: Tensor, factor: Factor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The scales that make the output error least for the given codes, in closed form.

    Per output the error is quadratic in the scales of its groups: with C_g the codes of group g (zero
    elsewhere) the step is the solution of (C_gᵀ H C_k) δ = -C_gᵀ H (dequantized - weight).

    Returns:
        new scales (groups, out), the old ones where an output's system is singular; and by how much each
        output's error changes with them, (out,).
    """
    count, outputs = grid.scales.shape
    normal = torch.empty(outputs, count, count, dtype=codes.dtype, device=codes.device)
    slope = torch.zeros_like(grid.scales).index_add_(0, grid.group_of, codes * gradient)
    for group in range(count):
        rows = (grid.group_of == group).nonzero().squeeze(1)
        product = (factor.hessian[:, rows] @ codes[rows]).mul_(codes)
        sums = torch.zeros_like(grid.scales).index_add_(0, grid.group_of, product)
        normal[:, group] = sums.T
    # A group whose codes are all zero keeps its scale; a little on the diagonal keeps the rest solvable.
    diagonal = normal.diagonal(dim1=1, dim2=2)
    diagonal.add_(diagonal.mean(-1, keepdim=True) * 1e-6 + torch.finfo(codes.dtype).tiny)
    lower, info = torch.linalg.cholesky_ex(normal)
    step = torch.cholesky_solve(-slope.T.unsqueeze(-1), lower).squeeze(-1).T
    fitted = grid.scales + step
    # A step that turns a scale round or doubles it comes from an ill-conditioned system, not from the data.
    ratio = fitted / grid.scales
    trusted = (info == 0).unsqueeze(0) & (ratio > 0.5) & (ratio < 2.0)
    scales = storable(torch.where(trusted, fitted, grid.scales))
    step = (scales - grid.scales).T
    change = 2 * (step * slope.T).sum(1) + (step * torch.einsum("ogk,ok->og", normal, step)).sum(1)
    # Where rounding the scales eats the gain, the old ones stay.
    worse = change >= 0
    return torch.where(worse, grid.scales, scales), torch.where(worse, 0.0, change)
