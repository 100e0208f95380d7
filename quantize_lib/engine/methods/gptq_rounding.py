"""GPTQ's rounding (Frantar et al. 2022, arXiv 2210.17323), blocked.

Everything here is transposed and permuted: a row is one input channel over all outputs, (in, out), in
processing order, so that each step of the column loop reads and writes contiguous memory. Codes are held
minus their zero point; the weight they mean is code × scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quantize_lib.engine.methods.hessian import Factor
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
