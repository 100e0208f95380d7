"""Finds where input scales of linear layers can be undone in front of them, by trying.

No table of families: a candidate is a norm or linear layer that might feed the targets; it is accepted when
scaling it down and the targets up leaves the block's output as it was, on a sample forward in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Fold
from quantize_lib.engine.experts import DOWN, UP, FusedExperts
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.watch import removed

_TOLERANCE = 1e-4
"""Largest change of the block's output, relative to its largest value: float32 rounding is some 1e-6."""


def find_folds(
    block: nn.Module,
    linears: Mapping[str, Linear],
    groups: Sequence[tuple[str, ...]],
    forward: Callable[[nn.Module], Tensor],
    *,
    head_dim: int,
) -> tuple[Fold, ...]:
    """The folds of a block, each proven by a forward.

    Args:
        block: the block in full precision; its weights are changed and restored.
        linears: its linear layers by relative name.
        groups: layers that are modules and share one input.
        forward: runs the block on a sample.
        head_dim: size of an attention head, for grouped-query attention.
    """
    modules = {name: linear for name, linear in linears.items() if linear.experts is None}
    producers = _producers(block, modules, forward)
    reference = forward(block)

    def holds(folds: Sequence[Fold]) -> bool:
        return _difference(block, linears, folds, forward, reference) < _TOLERANCE

    def matters(folds: Sequence[Fold]) -> bool:
        """Whether the sample comes by what is scaled."""
        return not holds([replace(fold, targets=()) for fold in folds])

    folds: list[Fold] = []
    for group in groups:
        for fold in _candidates(block, modules, group, producers.get(group[0]), head_dim):
            # An expert that the sample does not reach proves nothing.
            if holds([fold]) and (linears[group[0]].owner is None or matters([fold])):
                folds.append(fold)
                break
    for alike in _expert_folds(linears):
        # Of all experts of a module some are reached.
        if holds(alike) and matters(alike):
            folds += alike
    return tuple(folds)


def _expert_folds(linears: Mapping[str, Linear]) -> list[list[Fold]]:
    """What scales the last layers of experts, undone in those before: experts of one module are alike."""
    found: dict[FusedExperts, list[Fold]] = {}
    for name, linear in linears.items():
        source = f"{name.rpartition('.')[0]}.{UP}"
        if linear.experts is not None and linear.part == DOWN and source in linears:
            fold = Fold(source=source, kind="linear", targets=(name,))
            found.setdefault(linear.experts, []).append(fold)
    return list(found.values())


def _producers(
    block: nn.Module, linears: Mapping[str, Linear], forward: Callable[[nn.Module], Tensor]
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
    with removed(handles):
        forward(block)
    return found


def _candidates(
    block: nn.Module,
    linears: Mapping[str, Linear],
    group: tuple[str, ...],
    producer: str | None,
    head_dim: int,
) -> Iterator[Fold]:
    width = linears[group[0]].shape[1]
    if producer is not None:
        weight = getattr(block.get_submodule(producer), "weight", None)
        if isinstance(weight, Tensor) and weight.shape == (width,):
            yield Fold(source=producer, kind="norm", targets=group)
            yield Fold(source=producer, kind="norm_plus_one", targets=group)
            return
    for name, linear in linears.items():
        if name in group or linear.owner != linears[group[0]].owner:
            continue
        rows = linear.shape[0]
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


def _difference(
    block: nn.Module,
    linears: Mapping[str, Linear],
    folds: Sequence[Fold],
    forward: Callable[[nn.Module], Tensor],
    reference: Tensor,
) -> float:
    """How much the block's output changes with these folds at once, relative to its largest value."""
    touched: list[Tensor] = []
    for fold in folds:
        touched += [tensor for tensor in _source(block, linears, fold) if tensor is not None]
        touched += [linears[name].view for name in fold.targets]
    saved = [tensor.clone() for tensor in touched]
    try:
        for fold in folds:
            _scale(block, linears, fold)
        return float((forward(block) - reference).abs().max() / reference.abs().max())
    finally:
        for tensor, value in zip(touched, saved, strict=True):
            tensor.copy_(value)


def _source(block: nn.Module, linears: Mapping[str, Linear], fold: Fold) -> tuple[Tensor, Tensor | None]:
    """Weight (of a linear layer as (out, in)) and bias of what feeds a fold's targets."""
    if fold.kind == "linear":
        return linears[fold.source].view, linears[fold.source].bias_view
    module = block.get_submodule(fold.source)
    return cast(Tensor, module.weight), cast(Tensor | None, getattr(module, "bias", None))


def _scale(block: nn.Module, linears: Mapping[str, Linear], fold: Fold) -> None:
    """Scale a fold's targets at random, and undo it in its source."""
    weight, bias = _source(block, linears, fold)
    generator = torch.Generator().manual_seed(0)
    if fold.kind == "linear":
        start, stop = fold.rows or (0, len(weight))
        per_source = (torch.rand(stop - start, generator=generator) + 0.5).to(weight)
        weight[start:stop] /= per_source[:, None]
        if bias is not None:
            bias[start:stop] /= per_source
    else:
        per_source = (torch.rand(len(weight), generator=generator) + 0.5).to(weight)
        offset = 1.0 if fold.kind == "norm_plus_one" else 0.0
        weight.copy_((weight + offset) / per_source - offset)
        if bias is not None:
            bias /= per_source
    for name in fold.targets:
        linears[name].view.mul_(target_scale(fold, per_source))
