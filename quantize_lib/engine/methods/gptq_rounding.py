"""GPTQ's rounding (Frantar et al. 2022, arXiv 2210.17323), blocked.

The column loop works on transposed and permuted matrices: a row is one input channel over all outputs,
(in, out), in processing order, so that each step reads and writes contiguous memory. Codes are held minus
their zero point; the weight they mean is code × scale.
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
class Rounded:
    """Some outputs of a layer, or of layers that share their inputs; inputs in the layer's own order.

    Attributes:
        codes: uint8 (out, in).
        zeros, scales: float32 (out, groups).
        weight: float32 (out, in), (codes - zeros) * scales.
        error: tr(ΔW·H·ΔWᵀ) by output, (out,).
    """

    codes: Tensor
    zeros: Tensor
    scales: Tensor
    weight: Tensor
    error: Tensor

    def of(self, start: int, stop: int) -> Rounded:
        """The layer that has these outputs."""
        rows = slice(start, stop)
        return Rounded(
            codes=self.codes[rows],
            zeros=self.zeros[rows],
            scales=self.scales[rows],
            weight=self.weight[rows].clone(),
            error=self.error[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Which inputs share a scale.

    Attributes:
        order: int64 (in,): consecutive inputs of this order form groups; None for the layer's own order.
        size: inputs per group.
        of: int64 (in,), the group of each input.
    """

    order: Tensor | None
    size: int
    of: Tensor


def make_grouping(factor: Factor, size: int, *, desc_act: bool) -> Grouping:
    """Consecutive inputs in the layer's own order or, with `desc_act`, in that of rounding."""
    groups = torch.arange(len(factor.order), device=factor.order.device) // size
    if not desc_act:
        return Grouping(order=None, size=size, of=groups)
    of = torch.empty_like(groups)
    of[factor.order] = groups
    return Grouping(order=factor.order, size=size, of=of)


def round_rows(
    weight: Tensor, factor: Factor, grouping: Grouping, scales: Tensor, zeros: Tensor, *, bits: int
) -> Rounded:
    """Round some outputs; others with the same inputs do not matter to them.

    Args:
        weight: float32 (out, in); not changed.
        scales, zeros: float32 (out, groups), as the checkpoint holds them.
    """
    meaning = _Meaning(
        scales=scales.T.contiguous(),
        zeros=zeros.T.contiguous(),
        group_of=grouping.of[factor.order].tolist(),
        maxq=2**bits - 1,
    )
    # Transposed first: whole rows are gathered much faster than columns.
    codes, loss = _round_columns(weight.T.contiguous().index_select(0, factor.order), factor, meaning)
    codes = codes.index_select(0, torch.argsort(factor.order)).T.contiguous()
    dequantized = codes * scales[:, grouping.of]
    # As bytes before the rest: these matrices are the largest of a run.
    small = codes.add_(zeros[:, grouping.of]).to(torch.uint8)
    del codes
    return Rounded(
        codes=small,
        zeros=zeros,
        scales=scales,
        weight=dequantized,
        # The loss is the error under the damped H; what was added to its diagonal is taken off again.
        error=(loss - (dequantized - weight).square_() @ factor.added).clamp_(min=0),
    )


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What codes mean.

    Attributes:
        scales: float32 (groups, out), float16 numbers.
        zeros: whole numbers (groups, out).
        group_of: the group of each row.
        maxq: 2**bits - 1.
    """

    scales: Tensor
    zeros: Tensor
    group_of: list[int]
    maxq: int


def _round_columns(weight: Tensor, factor: Factor, meaning: _Meaning) -> tuple[Tensor, Tensor]:
    """Round row by row, each row's error made up for by the rows after it (GPTQ, algorithm 1).

    Args:
        weight: float32 (in, out); used as scratch memory.

    Returns:
        Codes minus zero point, float32 (in, out), and by output the sum of GPTQ's squared errors, (out,),
        which is tr(ΔW·H·ΔWᵀ) with the damped H (equation 3 of the paper, summed over the columns).
    """
    upper = factor.upper
    pivots = upper.diagonal().tolist()
    # A view for each row, made once: the operations on one take hardly longer than making it.
    scales, inverse = meaning.scales.unbind(), meaning.scales.reciprocal().unbind()
    low, high = (-meaning.zeros).unbind(), (meaning.maxq - meaning.zeros).unbind()
    codes = torch.empty_like(weight)
    targets, rounded = weight.unbind(), codes.unbind()
    errors = torch.empty(min(BLOCK, len(weight)), weight.shape[1], dtype=weight.dtype, device=weight.device)
    transposed, own = errors.T, errors.unbind()
    loss = torch.zeros(weight.shape[1], dtype=weight.dtype, device=weight.device)
    for start in range(0, len(weight), BLOCK):
        stop = min(start + BLOCK, len(weight))
        # Column i of U, as a contiguous row: how much of the earlier rows' errors row i has to take.
        shares = upper[start:stop, start:stop].T.contiguous()
        with one_thread():
            for row in range(start, stop):
                done, group = row - start, meaning.group_of[row]
                target = targets[row]
                if done:
                    target = torch.addmv(target, transposed[:, :done], shares[done, :done], alpha=-1)
                code = torch.mul(target, inverse[group], out=rounded[row]).round_()
                torch.clamp(code, min=low[group], max=high[group], out=code)
                error = torch.addcmul(target, code, scales[group], value=-1, out=own[done])
                error.div_(pivots[row])
        done = stop - start
        loss += errors[:done].square().sum(0)
        if stop < len(weight):
            weight[stop:].addmm_(upper[start:stop, stop:].T, errors[:done], alpha=-1)
    return codes, loss
