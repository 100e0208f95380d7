"""How much resident memory a quantizing process needs, from config and headers alone.

The terms are those of the code, read off it and compared with measurements (`benchmarks/memory.py`); none of
them grows with the number of blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

from quantize_lib.architecture.blocks import block_of, expert_of, inputs_by_block
from quantize_lib.architecture.language_model import hidden_size, is_beside, vocabulary
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import UsageError
from quantize_lib.formats import named_format
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import is_automatic
from quantize_lib.plan.block_memory import block_memory
from quantize_lib.sizing import (
    AHEAD_BYTES,
    FLOAT32_BYTES,
    LANES,
    LOGITS_CHUNK_VALUES,
    PROOF_TOKENS,
    sequences_of,
)
from quantize_lib.source.facts import ModelFacts
from quantize_lib.tasks import task_of
from quantize_lib.text import format_bytes

LIBRARIES_BYTES = 480_000_000
"""Of torch and transformers once they have worked; measured on a CPU."""
_SLACK = 1.1
"""The allocator's part: what it keeps of freed pieces, and what matrix products take for themselves."""
_CHUNKS = 6
"""Buffers of at most `LOGITS_CHUNK_VALUES` in which logits are compared."""


Share = Literal["all", "collect", "add"]
"""A job's part in calibrating: it does all of it, makes a shard's statistics, or adds those of all shards."""


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
        beside: bytes that further cells take which work at the same time; 0 where none do.
        before: bytes at a moment before there are hidden states, when the way through the blocks is proven.
    """

    hidden: int
    rest: int
    ahead: int = 0
    beside: int = 0
    before: int = 0

    @property
    def whole(self) -> int:
        """With everything in memory."""
        return max(self.hidden + self.rest + self.beside + self.ahead, self.before)

    @property
    def least(self) -> int:
        """With what can be on disk there, no block ahead, and one cell at a time."""
        return max(self.rest, self.before)

    def looks_ahead(self, limit: int | None) -> bool:
        """Whether a block is calibrated while the one before is quantized, for a process below a limit."""
        beside = self.beside if self.works_beside(limit) else 0
        return self.ahead > 0 and self._fits(limit, beside + self.ahead)

    def works_beside(self, limit: int | None) -> bool:
        """Whether cells work at the same time, for a process below a limit."""
        return self.beside > 0 and self._fits(limit, self.beside)

    def _fits(self, limit: int | None, more: int) -> bool:
        return limit is None or max(self.hidden + self.rest + more, self.before) <= limit

    def spills(self, limit: int | None) -> bool:
        """Whether hidden states have to be on disk so that a process stays below a limit.

        Raises:
            UsageError: where that would not help.
        """
        if limit is None:
            return False
        if self.least > limit:
            raise UsageError(
                f"the job needs about {format_bytes(self.least)} of memory even with its activations on "
                f"disk, and may have {format_bytes(limit)}",
                hint="Raise the limit (--max-memory, for a container --memory), take fewer cells in a run "
                "(--only), or give them `effort: fast`.",
            )
        return self.rest + self.hidden > limit


def memory_needs(
    facts: ModelFacts,
    cells: Sequence[Settings],
    *,
    calibration: TextSize | None,
    evaluation: TextSize | None,
    share: Share = "all",
) -> MemoryNeeds:
    """Estimate a job on a CPU.

    The largest of four moments counts: the proof of the way through the blocks, the embedding, the block that
    needs most (`block_memory`), and the measuring.

    Args:
        cells: the settings of each.
        calibration: None, or cells that need none: nothing of it is in memory.
        evaluation: None where nothing is measured.
        share: of a shard's job, `calibration` is its own part of the text.
    """
    if not task_of(facts.config).continues:
        largest = max(prod(info.shape) for info in facts.tensors.values())
        # Tensor by tensor: as it is, in float32, and what a cell makes of it.
        return MemoryNeeds(hidden=0, rest=LIBRARIES_BYTES + round(_SLACK * largest * 3 * FLOAT32_BYTES))
    width = hidden_size(facts.config) or facts.layers[0].in_features
    outside, kept = _beside_layers(facts)
    if not any(get_method(cell.method).calibrated for cell in cells):
        calibration = None
    if share == "collect":
        # Nothing is rounded.
        cells, evaluation = (), None
    held_out = 0 if evaluation is None else _tokens(evaluation) * (len(cells) + 1)
    tokens = 0 if calibration is None else PROOF_TOKENS if share == "add" else _tokens(calibration)
    # Without folds to be proven nothing of the text goes through the blocks again.
    folds = any(get_method(cell.method).folds(cell) for cell in cells)
    drift = [_carried_tokens(cell, calibration) for cell in cells]
    carried = tokens if share != "add" or folds else 0
    hidden = width * FLOAT32_BYTES * (held_out + max([carried, *drift]) + sum(drift))
    blocks = [
        block_memory(groups, cells, kept=kept, tokens=tokens, drift=drift, carried=evaluation is not None)
        for groups in _unlike(inputs_by_block(facts.layers))
    ]
    working = max(
        # The embedding: what stands outside the blocks, one tensor of it as it is on disk.
        sum(outside) * FLOAT32_BYTES + 2 * max(outside),
        max(block.peak for block in blocks),
        # Cells that have others than the base model take turns.
        (1 + any(_replaces_outside(cell, evaluation) for cell in cells)) * sum(outside) * FLOAT32_BYTES
        + _logits_bytes(evaluation, vocabulary(facts.config)),
    )
    # What stands outside the blocks is there as well as one of them.
    proof = sum(outside) * FLOAT32_BYTES + max(block.loading for block in blocks)
    libraries = LIBRARIES_BYTES
    libraries += sum(method.library_bytes for method in {get_method(cell.method) for cell in cells})
    ahead = beside = 0
    kept = max(block.weights + block.statistics for block in blocks)
    if tokens and share != "collect" and kept <= AHEAD_BYTES:
        if all(block.cell for block in blocks):
            beside = (min(len(cells), LANES) - 1) * max(block.cell for block in blocks)
        if share == "all":
            ahead = kept + max(block.states + block.batch for block in blocks)
            ahead += width * FLOAT32_BYTES * tokens
    return MemoryNeeds(
        hidden=round(_SLACK * hidden),
        rest=libraries + round(_SLACK * working),
        ahead=round(_SLACK * ahead),
        beside=round(_SLACK * beside),
        before=0 if calibration is None and evaluation is None else libraries + round(_SLACK * proof),
    )


def _replaces_outside(cell: Settings, evaluation: TextSize | None) -> bool:
    """Whether text ends in an output layer that the cell rounded, or may round."""
    return named_format(cell).rounds_outside and (evaluation is not None or is_automatic(cell))


def _carried_tokens(cell: Settings, calibration: TextSize | None) -> int:
    """Tokens of the calibration text that go through a cell's quantized blocks."""
    wanted = get_method(cell.method).carried_tokens(cell)
    if calibration is None or not wanted:
        return 0
    length = calibration.sequence_length
    return min(calibration.samples, sequences_of(wanted, length)) * length


def _beside_layers(facts: ModelFacts) -> tuple[list[int], int]:
    """Values of what is no layer: of each tensor outside the blocks, and of all in the block with most.

    Vision and audio towers are not among them: text does not pass through them.
    """
    layers = {layer.tensor for layer in facts.layers}
    inside = tuple(f"{blocks}." for blocks in facts.blocks)
    outside: list[int] = []
    kept: Counter[str] = Counter()
    for name, info in facts.tensors.items():
        if name in layers or is_beside(name):
            continue
        if name.startswith(inside):
            kept[block_of(name)] += prod(info.shape)
        else:
            outside.append(prod(info.shape))
    return outside, max(kept.values(), default=0)


def _unlike(blocks: Iterable[list[list[LayerInfo]]]) -> list[list[list[LayerInfo]]]:
    """Of blocks with layers of the same sizes one."""
    by_size: dict[tuple[tuple[int, int, bool], ...], list[list[LayerInfo]]] = {}
    for block in blocks:
        layers = (layer for group in block for layer in group)
        sizes = tuple((one.in_features, one.out_features, expert_of(one) is None) for one in layers)
        by_size.setdefault(sizes, block)
    return list(by_size.values())


def _logits_bytes(text: TextSize | None, vocabulary: int) -> int:
    if text is None:
        return 0
    one = text.sequence_length * vocabulary * FLOAT32_BYTES
    # The base model's and a cell's, their samples, and chunks of both.
    return 4 * one + _CHUNKS * min(one, LOGITS_CHUNK_VALUES * FLOAT32_BYTES)


def _tokens(text: TextSize) -> int:
    return text.samples * text.sequence_length
