"""Finds where input scales of linear layers can be undone in front of them, by trying.

No table of families: a candidate is a norm or linear layer that might feed the targets; it is accepted when
scaling it down and the targets up leaves the block's output as it was, on a sample forward in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Fold

_TOLERANCE = 1e-4
"""Largest change of the block's output, relative to its largest value: float32 rounding is some 1e-6."""


def find_folds(
    block: nn.Module,
    linears: Mapping[str, nn.Module],
    groups: Sequence[tuple[str, ...]],
    forward: Callable[[nn.Module], Tensor],
    *,
    head_dim: int,
) -> tuple[Fold, ...]:
    """The folds of a block, each proven by a forward.

    Args:
        block: the block in full precision; its weights are changed and restored.
        linears: its linear layers by relative name.
        groups: layers that share one input.
        forward: runs the block on a sample.
        head_dim: size of an attention head, for grouped-query attention.
    """
    producers = _producers(block, linears, forward)
    reference = forward(block)
    folds: list[Fold] = []
    for group in groups:
        for fold in _candidates(block, linears, group, producers.get(group[0]), head_dim):
            if _holds(block, linears, fold, forward, reference):
                folds.append(fold)
                break
    return tuple(folds)


def weight_view(module: nn.Module) -> Tensor:
    """A linear layer's weight as (out, in); a Conv1D stores (in, out). A view: changes go through."""
    weight = cast(Tensor, module.weight)
    return weight if isinstance(module, nn.Linear) else weight.T


def _producers(
    block: nn.Module, linears: Mapping[str, nn.Module], forward: Callable[[nn.Module], Tensor]
) -> dict[str, str]:
    """For each linear whose input is another module's very output: that module's name."""
    made: list[tuple[Tensor, str]] = []
    found: dict[str, str] = {}
    handles = []

    def after(name: str) -> Any:
        return lambda _module, _args, output: (
            made.append((output, name)) if isinstance(output, Tensor) else None
        )

    def before(name: str) -> Any:
        def look(_module: nn.Module, args: tuple[Any, ...]) -> None:
            producer = next((other for tensor, other in made if tensor is args[0]), None)
            if producer is not None:
                found[name] = producer

        return look

    for name, module in block.named_modules():
        if name in linears:
            handles.append(module.register_forward_pre_hook(before(name)))
        elif name and not list(module.children()):
            handles.append(module.register_forward_hook(after(name)))
    try:
        forward(block)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _candidates(
    block: nn.Module,
    linears: Mapping[str, nn.Module],
    group: tuple[str, ...],
    producer: str | None,
    head_dim: int,
) -> Iterator[Fold]:
    width = weight_view(linears[group[0]]).shape[1]
    if producer is not None:
        weight = getattr(block.get_submodule(producer), "weight", None)
        if isinstance(weight, Tensor) and weight.shape == (width,):
            yield Fold(source=producer, kind="norm", targets=group)
            yield Fold(source=producer, kind="norm_plus_one", targets=group)
            return
    for name, module in linears.items():
        if name in group:
            continue
        rows = weight_view(module).shape[0]
        if rows == width:
            yield Fold(source=name, kind="linear", targets=group)
        elif rows > width:
            yield Fold(source=name, kind="linear", targets=group, rows=(rows - width, rows))
        # Fused or not, the values come last: with grouped-query attention they are narrower than the target.
        for repeat in range(2, width // head_dim + 1):
            values = width // repeat
            if width % repeat == 0 and values % head_dim == 0 and values <= rows:
                yield Fold(
                    source=name,
                    kind="linear",
                    targets=group,
                    rows=None if values == rows else (rows - values, rows),
                    repeat=repeat,
                    head_dim=head_dim,
                )


def source_scale(fold: Fold, scale: Tensor) -> Tensor:
    """The scale per source row of a scale per target channel that is equal over each repetition.

    Args:
        scale: (in,) of the targets.

    Returns:
        (rows of the source that feed the targets,).
    """
    if fold.repeat == 1:
        return scale
    return scale.reshape(-1, fold.repeat, fold.head_dim)[:, 0].reshape(-1)


def target_scale(fold: Fold, scale: Tensor) -> Tensor:
    """The inverse of `source_scale`: one source scale for every target channel that it feeds."""
    if fold.repeat == 1:
        return scale
    blocks = scale.reshape(-1, 1, fold.head_dim)
    return blocks.expand(-1, fold.repeat, -1).reshape(-1)


def _holds(
    block: nn.Module,
    linears: Mapping[str, nn.Module],
    fold: Fold,
    forward: Callable[[nn.Module], Tensor],
    reference: Tensor,
) -> bool:
    module = block.get_submodule(fold.source)
    weight = cast(Tensor, module.weight)
    touched = [weight, *(cast(Tensor, linears[name].weight) for name in fold.targets)]
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        touched.append(bias)
    saved = [tensor.clone() for tensor in touched]
    width = weight_view(linears[fold.targets[0]]).shape[1]
    generator = torch.Generator().manual_seed(0)
    per_source = (torch.rand(width // fold.repeat, generator=generator) + 0.5).to(weight)
    try:
        if fold.kind == "linear":
            rows = slice(*(fold.rows or (0, width // fold.repeat)))
            weight_view(module)[rows] /= per_source[:, None]
            if isinstance(bias, Tensor):
                bias[rows] /= per_source
        else:
            offset = 1.0 if fold.kind == "norm_plus_one" else 0.0
            weight.copy_((weight + offset) / per_source - offset)
            if isinstance(bias, Tensor):
                bias /= per_source
        for name in fold.targets:
            weight_view(linears[name]).mul_(target_scale(fold, per_source))
        change = (forward(block) - reference).abs().max() / reference.abs().max()
        return bool(change < _TOLERANCE)
    finally:
        for tensor, value in zip(touched, saved, strict=True):
            tensor.copy_(value)
