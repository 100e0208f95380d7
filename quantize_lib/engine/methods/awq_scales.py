"""AWQ's scale search: which input channels to enlarge before rounding, and undoing that in front of them.

Lin et al. 2023, AWQ (arXiv 2306.00978), section 3.2: s = mean(|x|)^alpha with alpha from a grid. AutoAWQ's
variant also divides by the channels' usual share of their group's range, to the power 1 - alpha. A
candidate's output error is tr(ΔW·H·ΔWᵀ), so that no forward is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quantize_lib.engine.block import Fold, LinearInput
from quantize_lib.engine.folds import source_scale, target_scale
from quantize_lib.engine.methods.awq_rounding import Target, round_to_nearest
from quantize_lib.engine.methods.output_error import row_errors
from quantize_lib.engine.precision import calibrating, factor_dtype
from quantize_lib.formats.rounded import Grid

_GRID = 10
"""Values of alpha in [0, 1). AutoAWQ's 20 gave no lower perplexity on a 135M model."""
_ROWS = 128
"""Rows of each layer that the search looks at; the scale is shared by all of them."""
_SMALLEST = 1e-4
"""Channels quieter than this share of the mean count as this loud."""
_RANGE = 2.0**10
"""Largest ratio of a scale to the middle one."""


def search_scale(
    fold: Fold, targets: Sequence[LinearInput], weights: Sequence[Tensor], grid: Grid
) -> Tensor | None:
    """The input scale of the least output error.

    Args:
        fold: where it is undone; channels that share a source row get one scale.
        targets: the layers that read the input, with statistics.
        weights: their weights as they stand, float32 (out, in).
        grid: what the format asks of the codes.

    Returns:
        float32 (in,), equal over each repetition; None where no scale is better than none.
    """
    statistics = targets[0].statistics
    if statistics is None:
        return None
    samples = [_sample(weight) for weight in weights]
    loudness = _shared(fold, statistics.mean_abs)
    loudness = (loudness / loudness.mean().clamp(min=torch.finfo(torch.float32).tiny)).clamp(min=_SMALLEST)
    share = _shared(fold, _share_of_range(weights, targets[0].group_inputs))

    device = statistics.hessian.device

    def error(scale: Tensor) -> float:
        total = 0.0
        for target, sample in zip(targets, samples, strict=True):
            rounded = round_to_nearest(sample * scale, Target.of(target, grid))
            difference = (rounded / scale - sample).to(hessian.dtype)
            total += float(row_errors(difference, hessian).sum()) * len(target.weight) / len(sample)
        return total

    # Sums over whole layers are compared: the calibration's arithmetic orders them as well as float32 does.
    with calibrating(device):
        hessian = statistics.hessian.to(factor_dtype(device))
        best, least = None, error(torch.ones_like(loudness))
        for step in range(_GRID):
            ratio = step / _GRID
            for candidate in (loudness**ratio, loudness**ratio / (share ** (1 - ratio) + _SMALLEST)):
                scale = _centred(candidate)
                found = error(scale)
                if found < least:
                    best, least = scale, found
    return best


def fold_norm(
    fold: Fold, weight: Tensor, bias: Tensor | None, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Divide a norm by a scale, in the dtype of the disk.

    Args:
        weight, bias: float32 (in,), of the norm.
        scale: float32 (in,).

    Returns:
        The new weight and bias in `dtype`, and the scale in float32 that the rounded weight really undoes:
        with it the targets' weights lose nothing to the norm's rounding.
    """
    offset = 1.0 if fold.kind == "norm_plus_one" else 0.0
    folded = ((weight + offset) / scale - offset).to(dtype)
    effective = (weight + offset) / (folded.float() + offset)
    # Where the rounded weight lost the scale (at zero, or beside Gemma's one) nothing is folded.
    usable = torch.isfinite(effective) & (effective > scale / 2) & (effective < scale * 2)
    folded = torch.where(usable, folded, weight.to(dtype))
    effective = torch.where(usable, effective, torch.ones_like(effective))
    return folded, None if bias is None else (bias / effective).to(dtype), effective


def fold_linear(
    fold: Fold, weight: Tensor, bias: Tensor | None, scale: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Divide the output rows of a linear layer, which is rounded afterwards.

    Args:
        weight: float32 (out, in); bias: float32 (out,) or None.
        scale: float32 (in of the targets,), equal over each repetition.

    Returns:
        The new weight and bias, and what each output was divided by: float32, the last one (out,).
    """
    rows = slice(*(fold.rows or (0, weight.shape[0])))
    divisor = torch.ones(weight.shape[0], device=weight.device)
    divisor[rows] = source_scale(fold, scale)
    return weight / divisor[:, None], None if bias is None else bias / divisor, divisor


def _sample(weight: Tensor) -> Tensor:
    """At most `_ROWS` rows, evenly spread."""
    return weight[:: -(-weight.shape[0] // _ROWS)]


def _shared(fold: Fold, values: Tensor) -> Tensor:
    """(in,) averaged over the channels that share a source row."""
    if fold.repeat == 1:
        return values
    means = values.reshape(-1, fold.repeat, fold.head_dim).mean(1).reshape(-1)
    return target_scale(fold, means)


def _share_of_range(weights: Sequence[Tensor], size: int) -> Tensor:
    """Mean over rows of each weight's size relative to the largest of its group of `size` inputs: (in,)."""
    total = torch.zeros(weights[0].shape[1], device=weights[0].device)
    for weight in weights:
        groups = weight.abs().reshape(len(weight), -1, size)
        largest = groups.amax(-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
        total += (groups / largest).flatten(1).sum(0)
    return total / sum(len(weight) for weight in weights)


def _centred(scale: Tensor) -> Tensor:
    """A scale whose extremes lie equally far from one."""
    scale = scale / (scale.amax() * scale.amin()).sqrt()
    return scale.clamp(1 / _RANGE, _RANGE)
