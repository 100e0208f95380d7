"""How much resident memory a quantizing process needs, from config and headers alone.

The terms are those of the code, read off it and compared with measurements (`benchmarks/memory.py`); none of
them grows with the number of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from quantize_lib.architecture.assignment import on_disk
from quantize_lib.architecture.blocks import inputs_by_block
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import UsageError
from quantize_lib.methods import InputShape, Settings, get_method
from quantize_lib.sizing import AHEAD_BYTES, FLOAT32_BYTES, LOGITS_CHUNK_VALUES, TOKENS_PER_BATCH
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import format_bytes

LIBRARIES_BYTES = 480_000_000
"""Of torch and transformers once they have worked; measured on a CPU."""
_SLACK = 1.1
"""The allocator's part: what it keeps of freed pieces, and what matrix products take for themselves."""
_CHUNKS = 6
"""Buffers of at most `LOGITS_CHUNK_VALUES` in which logits are compared."""


class TextSize(Protocol):
    """What counts of a text."""

    @property
    def samples(self) -> int: ...

    @property
    def sequence_length(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class MemoryNeeds:
    """Resident memory of a quantizing process at its peak.

    Attributes:
        hidden: bytes of the texts' hidden states, which can be on disk instead.
        rest: bytes of everything else.
        ahead: bytes that calibrating a block ahead takes besides; 0 where that is not done.
    """

    hidden: int
    rest: int
    ahead: int = 0

    @property
    def whole(self) -> int:
        """With everything in memory."""
        return self.hidden + self.rest + self.ahead

    def looks_ahead(self, limit: int | None) -> bool:
        """Whether a block is calibrated while the one before is quantized, for a process below a limit."""
        return self.ahead > 0 and (limit is None or self.whole <= limit)

    def spills(self, limit: int | None) -> bool:
        """Whether hidden states have to be on disk so that a process stays below a limit.

        Raises:
            UsageError: where that would not help.
        """
        if limit is None:
            return False
        if self.rest > limit:
            raise UsageError(
                f"the job needs about {format_bytes(self.rest)} of memory even with its activations on disk, "
                f"and may have {format_bytes(limit)}",
                hint="Raise the limit (--max-memory, for a container --memory), or take fewer cells in a run "
                "(--only).",
            )
        return self.rest + self.hidden > limit


def memory_needs(
    facts: ModelFacts,
    cells: Sequence[Settings],
    *,
    calibration: TextSize | None,
    evaluation: TextSize | None,
) -> MemoryNeeds:
    """Estimate a job on a CPU.

    The largest of three moments counts: the embedding, the block that needs most, and the measuring. During a
    block there are its weights in float32, the statistics, a cell's result so far (weights, and codes), and
    what the cell's method needs to make the next part of it.

    Args:
        cells: the settings of each.
        calibration: None, or cells that need none: nothing of it is in memory.
        evaluation: None where nothing is measured.
    """
    width = facts.layers[0].in_features
    inside = {on_disk(layer, facts.tensors).name for layer in facts.layers}
    outside = [prod(i.shape) for n, i in facts.tensors.items() if n not in inside]
    if not any(get_method(cell.method).calibrated for cell in cells):
        calibration = None
    held_out = 0 if evaluation is None else _tokens(evaluation) * (len(cells) + 1)
    hidden = width * FLOAT32_BYTES * (held_out + (0 if calibration is None else _tokens(calibration)))
    parts = inputs_by_block(facts.layers)
    working = max(
        # The embedding: what stands outside the blocks, one tensor of it as it is on disk.
        sum(outside) * FLOAT32_BYTES + 2 * max(outside),
        max(_block_bytes(groups, cells) for groups in parts),
        sum(outside) * FLOAT32_BYTES + _logits_bytes(evaluation, int(facts.config["vocab_size"])),
    )
    libraries = LIBRARIES_BYTES
    libraries += sum(method.library_bytes for method in {get_method(cell.method) for cell in cells})
    ahead = 0
    if calibration is not None:
        kept = max(_weights_bytes(groups) + sum(_squares(groups)) for groups in parts)
        if kept <= AHEAD_BYTES:
            ahead = kept + max(map(_batch_bytes, parts)) + width * FLOAT32_BYTES * _tokens(calibration)
    return MemoryNeeds(
        hidden=round(_SLACK * hidden),
        rest=libraries + round(_SLACK * working),
        ahead=round(_SLACK * ahead),
    )


def _block_bytes(groups: Sequence[Sequence[LayerInfo]], cells: Sequence[Settings]) -> int:
    """The most that a block needs.

    Args:
        groups: its layers by distinct input, in order.
    """
    weights = _weights_bytes(groups)
    calibrated = any(get_method(cell.method).calibrated for cell in cells)
    squares = _squares(groups)
    statistics = sum(squares) if calibrated else 0
    batch = _batch_bytes(groups)
    peak = weights + statistics + max(batch, max(squares) if calibrated else 0)
    factors = 0
    for cell in cells:
        method = get_method(cell.method)
        done = kept = 0
        scaled = method.scaled_bytes(weights)
        for group, square in zip(groups, squares, strict=True):
            shape = _shape(group, square)
            needed = method.working_bytes(shape)
            kept += method.kept_bytes(shape)
            now = weights + statistics + max(factors, kept) + scaled + done + needed
            peak = max(peak, now)
            done += _values(group) * FLOAT32_BYTES + _values(group) * cell.bits // 8
        factors = max(factors, kept)
        peak = max(peak, weights + statistics + factors + scaled + done + batch)
    return peak


def _weights_bytes(groups: Sequence[Sequence[LayerInfo]]) -> int:
    return sum(map(_values, groups)) * FLOAT32_BYTES


def _squares(groups: Sequence[Sequence[LayerInfo]]) -> list[int]:
    """The bytes of XᵀX of each input."""
    return [group[0].in_features ** 2 * FLOAT32_BYTES for group in groups]


def _batch_bytes(groups: Sequence[Sequence[LayerInfo]]) -> int:
    """The forward: the inputs and outputs of the layers that see one batch of tokens."""
    return 2 * TOKENS_PER_BATCH["cpu"] * FLOAT32_BYTES * max(_width(group) for group in groups)


def _shape(group: Sequence[LayerInfo], square: int) -> InputShape:
    return InputShape(
        square=square,
        together=_values(group) * FLOAT32_BYTES,
        largest=max(layer.in_features * layer.out_features for layer in group) * FLOAT32_BYTES,
        layers=len(group),
    )


def _logits_bytes(text: TextSize | None, vocabulary: int) -> int:
    if text is None:
        return 0
    one = text.sequence_length * vocabulary * FLOAT32_BYTES
    # The base model's and a cell's, their samples, and chunks of both.
    return 4 * one + _CHUNKS * min(one, LOGITS_CHUNK_VALUES * FLOAT32_BYTES)


def _values(group: Iterable[LayerInfo]) -> int:
    return sum(layer.in_features * layer.out_features for layer in group)


def _width(group: Sequence[LayerInfo]) -> int:
    return group[0].in_features + sum(layer.out_features for layer in group)


def _tokens(text: TextSize) -> int:
    return text.samples * text.sequence_length
