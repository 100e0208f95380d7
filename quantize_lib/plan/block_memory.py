"""How much memory one block needs while it is calibrated and quantized, from the sizes of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quantize_lib.architecture.blocks import expert_of
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.methods import InputShape, Settings, get_method
from quantize_lib.sizing import BFLOAT16_BYTES, FLOAT32_BYTES, TOKENS_PER_BATCH

_MAPPED_BYTES = 2
"""Of a weight as most models have it on disk."""
_STREAMS = 2
"""Layers of a block that add to the residual stream."""
_GRADIENT_COPIES = 4
"""Of a block's weights while its scales are learned: codes, what they mean, that in bfloat16, gradients."""
_GRADIENT_STATES = 3
"""Of what comes to the layers of a block and leaves them, what is kept until its gradient is known: the
modules between them keep it, too, and some in float32."""

_OPTIMIZER_BYTES = 80_000_000
"""Of what torch imports for its first optimizer."""

Group = Sequence[LayerInfo]
"""Layers that share one input."""


@dataclass(frozen=True, kw_only=True)
class BlockMemory:
    """Bytes of the parts of a block's work.

    Attributes:
        weights: all of them in float32.
        statistics: of what there is of every input at once, where something is calibrated.
        states: of the text on which cells see their errors, what comes to the layers.
        batch: of a forward: the inputs and outputs of the layers that see one batch of tokens.
        cell: of what is one cell's alone, while it quantizes; 0 for a block with experts.
        loading: of the block while it is read.
        peak: the most that it needs.
    """

    weights: int
    statistics: int
    states: int
    batch: int
    cell: int
    loading: int
    peak: int


def block_memory(
    groups: Sequence[Group],
    cells: Sequence[Settings],
    *,
    kept: int,
    tokens: int,
    drift: Sequence[int],
    carried: bool,
) -> BlockMemory:
    """The memory of a block.

    There are its weights in float32, the statistics, a cell's result so far (weights and codes), and what the
    cell's method needs to make the next part of it. Experts come after that one by one.

    Args:
        groups: its layers by distinct input, in order.
        kept: values of what else it has.
        tokens: of the calibration text; 0 where nothing is calibrated.
        drift: by cell, tokens of it that go through the cell's block, whose layers make up for errors.
        carried: whether held-out text goes through what cells make of the block.
    """
    plain = [group for group in groups if expert_of(group[0]) is None]
    all_experts = _experts(group for group in groups if expert_of(group[0]) is not None)
    # Of those with the same sizes one.
    experts = list({tuple(map(_sizes, expert)): expert for expert in all_experts}.values())
    squares = _squares(plain) if tokens else [0] * len(plain)
    layers = sum(map(_values, groups)) * FLOAT32_BYTES
    weights = layers + kept * FLOAT32_BYTES
    # Of experts there are the tokens that came to them, each once.
    widest = max((expert[0][0].in_features for expert in experts), default=0)
    statistics = sum(squares) + tokens * FLOAT32_BYTES * widest
    states = [_states(plain, first) * max(drift, default=0) for first in range(len(plain) + 1)]
    # What a cell alone has seen goes, group after group; for several all of it stays.
    alone = sum(map(bool, drift)) == 1
    batch = 2 * TOKENS_PER_BATCH["cpu"] * FLOAT32_BYTES * max(map(_width, groups))
    held = weights + statistics
    # One tensor of all experts is put together of what is mapped, and then brought to float32.
    loading = weights + 2 * _MAPPED_BYTES * sum(max(map(_values, expert)) for expert in all_experts)
    fused = sum(map(_values, groups)) - sum(map(_values, plain))
    of_experts = [sum(_squares(expert)) for expert in experts] if tokens else []
    peak = max(loading, held + states[0] + max([batch, *squares, *(2 * square for square in of_experts)]))
    # What their weights were, and the pool that one may borrow from.
    besides = carried * _MAPPED_BYTES * fused + max(map(sum, map(_squares, experts)), default=0)
    factors = most_own = 0
    for cell, own_tokens in zip(cells, drift, strict=True):
        method = get_method(cell.method)
        scaled = method.scaled_bytes(layers - fused * FLOAT32_BYTES, cell)
        left = states if alone and own_tokens else states[:1] * len(states)
        texts = [
            base + _waiting(group, plain) * own_tokens for group, base in zip(plain, left[1:], strict=True)
        ]
        most, done, factor = _rounded(plain, squares, cell, texts, held_before=factors)
        factors = max(factors, factor)
        after = _learning(plain, own_tokens) if method.learns_scales(cell) and not experts else batch
        own = scaled + max(most, factors + done + after + left[-1])
        peak, most_own = max(peak, held + own), max(most_own, own - left[-1])
        for expert in experts:
            inner = _squares(expert)
            most, _, _ = _rounded(expert, inner, cell, left[-1:] * len(inner), held_before=0)
            peak = max(peak, held + factors + done + besides + sum(inner) + most)
    return BlockMemory(
        weights=weights,
        statistics=statistics,
        states=states[0],
        batch=batch,
        cell=0 if experts else most_own,
        loading=loading,
        peak=peak,
    )


def _states(groups: Sequence[Group], first: int) -> int:
    """Bytes of what is kept of a token on its way through the base model's block, from a group on.

    The residual stream is, until the last group that adds to it.
    """
    inputs = sum(group[0].in_features for group in groups[first:]) * BFLOAT16_BYTES
    return inputs + (_STREAMS * _stream(groups) if first < len(groups) else 0)


def _waiting(group: Group, groups: Sequence[Group]) -> int:
    """Bytes of a token that waits at a layer of a cell's block until that is rounded.

    Args:
        group: the layer's.
        groups: of the block.
    """
    # Besides the layer's input the residual stream, and what its module was called with.
    return group[0].in_features * FLOAT32_BYTES + 2 * _stream(groups)


def _learning(groups: Sequence[Group], tokens: int) -> int:
    """Bytes that scales of layers are learned with.

    Args:
        tokens: that are learned from; a batch of them at a time.
    """
    weights = _GRADIENT_COPIES * sum(map(_values, groups)) * FLOAT32_BYTES
    states = _GRADIENT_STATES * sum(map(_width, groups)) * BFLOAT16_BYTES
    # What the block returns is kept, as it was before and as it is afterwards.
    return weights + states * TOKENS_PER_BATCH["cpu"] + 2 * tokens * _stream(groups) + _OPTIMIZER_BYTES


def _stream(groups: Sequence[Group]) -> int:
    """Bytes of a token's residual stream: it has the width of the first input."""
    return groups[0][0].in_features * FLOAT32_BYTES if groups else 0


def _experts(groups: Iterable[Group]) -> list[list[Group]]:
    """The groups of each expert."""
    by_expert: dict[str, list[Group]] = {}
    for group in groups:
        by_expert.setdefault(str(expert_of(group[0])), []).append(group)
    return list(by_expert.values())


def _rounded(
    groups: Sequence[Group], squares: Sequence[int], cell: Settings, texts: Sequence[int], *, held_before: int
) -> tuple[int, int, int]:
    """What a cell's method needs for layers that are rounded in one go.

    Args:
        texts: by group, bytes of the text meanwhile.
        held_before: what it kept of them for another cell.

    Returns:
        Bytes: the most at a time, of the result, and of what the method keeps.
    """
    method = get_method(cell.method)
    most = done = kept = 0
    for group, square, text in zip(groups, squares, texts, strict=True):
        shape = _shape(group, square)
        needed = method.working_bytes(shape, cell)
        kept += method.kept_bytes(shape, cell)
        most = max(most, max(held_before, kept) + done + needed + text)
        done += _values(group) * FLOAT32_BYTES + _values(group) * cell.bits // 8
    return most, done, kept


def _squares(groups: Iterable[Group]) -> list[int]:
    """The bytes of XᵀX of each input."""
    return [group[0].in_features ** 2 * FLOAT32_BYTES for group in groups]


def _shape(group: Group, square: int) -> InputShape:
    return InputShape(
        square=square,
        together=_values(group) * FLOAT32_BYTES,
        largest=max(layer.in_features * layer.out_features for layer in group) * FLOAT32_BYTES,
        layers=len(group),
    )


def _values(group: Group) -> int:
    return sum(layer.in_features * layer.out_features for layer in group)


def _sizes(group: Group) -> tuple[tuple[int, int], ...]:
    return tuple((layer.in_features, layer.out_features) for layer in group)


def _width(group: Group) -> int:
    return group[0].in_features + sum(layer.out_features for layer in group)
