"""How much resident memory a quantizing process needs, from config and headers alone.

The terms are those of the code, read off it and held against measurements (`benchmarks/memory.py`); none of
them grows with the number of blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from quantize_lib.architecture.assignment import on_disk
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import UsageError
from quantize_lib.methods.schema_words import is_calibrated
from quantize_lib.methods.settings import Settings
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import format_bytes

LIBRARIES_BYTES = 480_000_000
"""Of torch and transformers once they have worked; measured on a CPU."""
BITSANDBYTES_BYTES = 60_000_000
"""What bitsandbytes adds."""

_FLOAT32 = 4
_TOKENS_PER_BATCH = 2048
"""As the engine has it on a CPU."""
_SLACK = 1.1
"""The allocator's part: what it keeps of freed pieces, and what matrix products take for themselves."""
_AHEAD_BYTES = 2**28
"""Blocks of more than that, with their statistics, are calibrated one after the other: their operations keep
all cores busy anyway, and two of them at once would need much memory."""
_CHUNK_BYTES = 8 * 2**20
_CHUNKS = 6
"""Buffers of at most `_CHUNK_BYTES` in which logits are compared."""
_SHARED_INPUTS = {
    "q_proj": "qkv",
    "k_proj": "qkv",
    "v_proj": "qkv",
    "gate_proj": "gate_up",
    "up_proj": "gate_up",
}


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
    blocks: dict[str, list[LayerInfo]] = defaultdict(list)
    for layer in facts.layers:
        blocks[_block(layer.name)].append(layer)
    inside = {on_disk(layer, facts.tensors).name for layer in facts.layers}
    outside = [prod(i.shape) for n, i in facts.tensors.items() if n not in inside and len(i.shape) <= 2]
    if not any(is_calibrated(cell.method) for cell in cells):
        calibration = None
    held_out = 0 if evaluation is None else _tokens(evaluation) * (len(cells) + 1)
    hidden = width * _FLOAT32 * (held_out + (0 if calibration is None else _tokens(calibration)))
    parts = [_inputs(block) for block in blocks.values()]
    working = max(
        # The embedding: what stands outside the blocks, one tensor of it as it is on disk.
        sum(outside) * _FLOAT32 + 2 * max(outside),
        max(_block_bytes(groups, cells) for groups in parts),
        sum(outside) * _FLOAT32 + _logits_bytes(evaluation, int(facts.config["vocab_size"])),
    )
    libraries = LIBRARIES_BYTES
    if any(cell.method == "bitsandbytes" for cell in cells):
        libraries += BITSANDBYTES_BYTES
    ahead = 0
    if calibration is not None:
        kept = max(_weights_bytes(groups) + sum(_squares(groups)) for groups in parts)
        if kept <= _AHEAD_BYTES:
            ahead = kept + max(map(_batch_bytes, parts)) + width * _FLOAT32 * _tokens(calibration)
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
    calibrated = any(is_calibrated(cell.method) for cell in cells)
    squares = _squares(groups)
    statistics = sum(squares) if calibrated else 0
    batch = _batch_bytes(groups)
    peak = weights + statistics + max(batch, max(squares) if calibrated else 0)
    factors = 0
    for cell in cells:
        done = 0
        scaled = weights if cell.method == "awq" else 0
        kept = 0
        for group, square in zip(groups, squares, strict=True):
            needed = _method_bytes(cell, group, square)
            kept += square if cell.method == "gptq" else 0
            now = weights + statistics + max(factors, kept) + scaled + done + needed
            peak = max(peak, now)
            done += _values(group) * _FLOAT32 + _values(group) * cell.bits // 8
        factors = max(factors, kept)
        peak = max(peak, weights + statistics + factors + scaled + done + batch)
    return peak


def _weights_bytes(groups: Sequence[Sequence[LayerInfo]]) -> int:
    return sum(map(_values, groups)) * _FLOAT32


def _squares(groups: Sequence[Sequence[LayerInfo]]) -> list[int]:
    """The bytes of XᵀX of each input."""
    return [group[0].in_features ** 2 * _FLOAT32 for group in groups]


def _batch_bytes(groups: Sequence[Sequence[LayerInfo]]) -> int:
    """The forward: the inputs and outputs of the layers that see one batch of tokens."""
    return 2 * _TOKENS_PER_BATCH * _FLOAT32 * max(_width(group) for group in groups)


def _method_bytes(cell: Settings, group: Sequence[LayerInfo], square: int) -> int:
    """What a method works with while it rounds the layers of one input."""
    together = _values(group) * _FLOAT32
    largest = max(layer.in_features * layer.out_features for layer in group) * _FLOAT32
    if cell.method == "gptq":
        # While the factor is computed, two matrices (one of them counted with the factors). Then layers of
        # one input as one matrix, and of its size the result, the error, its product, and codes as bytes.
        return max(square, round((3.25 + (len(group) > 1)) * together))
    if cell.method == "awq":
        return 2 * square + 4 * largest
    return 3 * largest


def _logits_bytes(text: TextSize | None, vocabulary: int) -> int:
    if text is None:
        return 0
    one = text.sequence_length * vocabulary * _FLOAT32
    # The base model's and a cell's, their samples, and chunks of both.
    return 4 * one + _CHUNKS * min(one, _CHUNK_BYTES)


def _inputs(block: Iterable[LayerInfo]) -> list[list[LayerInfo]]:
    """A block's layers by distinct input."""
    groups: dict[str, list[LayerInfo]] = defaultdict(list)
    for layer in block:
        last = layer.name.rpartition(".")[2]
        groups[_SHARED_INPUTS.get(last, layer.name)].append(layer)
    return list(groups.values())


def _values(group: Iterable[LayerInfo]) -> int:
    return sum(layer.in_features * layer.out_features for layer in group)


def _width(group: Sequence[LayerInfo]) -> int:
    return group[0].in_features + sum(layer.out_features for layer in group)


def _tokens(text: TextSize) -> int:
    return text.samples * text.sequence_length


def _block(name: str) -> str:
    """The block that a layer belongs to: `model.layers.3` of `model.layers.3.mlp.up_proj`."""
    parts = name.split(".")
    index = next(i for i, part in enumerate(parts) if part.isdecimal())
    return ".".join(parts[: index + 1])
