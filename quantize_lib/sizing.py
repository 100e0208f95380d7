"""The sizes in which the engine works, and by which the plan therefore counts memory."""

from __future__ import annotations

from collections.abc import Iterable

TOKENS_PER_BATCH = {"cpu": 2048, "mps": 4096, "cuda": 32768}
"""Calibration tokens that go through a block at once: enough for full speed, little enough for the caches."""
PROOF_TOKENS = 128
"""Tokens on which it is proven where scales of inputs can be undone: each candidate takes a forward, and a
wrong one changes every token."""
AHEAD_BYTES = 2**28
"""Blocks of more than that, with their statistics, are calibrated one after the other: their operations keep
all cores busy anyway, and two of them at once would need much memory."""
LANES = 2
"""Cells that quantize such a block at the same time, each mostly on one core."""
LOGITS_CHUNK_VALUES = 1 << 20
"""Logits turned to float32 at once where they are compared: 4 MiB a buffer, which stays in the caches."""
FLOAT32_BYTES = 4
BFLOAT16_BYTES = 2


def batch_size(device: str, length: int) -> int:
    """How many sequences of the calibration text go through a block at once.

    Args:
        length: in tokens.
    """
    return max(1, TOKENS_PER_BATCH[device] // length)


def batch_sizes(total: int, size: int, ends: Iterable[int] = ()) -> list[int]:
    """Sequences of each batch.

    Args:
        total: how many sequences there are.
        size: the most of a batch.
        ends: numbers of sequences after which a batch ends in any case.
    """
    sizes: list[int] = []
    start = 0
    for end in sorted({total, *(end for end in ends if end < total)}):
        for first in range(start, end, size):
            sizes.append(min(size, end - first))
        start = end
    return sizes


def sequences_of(tokens: int, length: int) -> int:
    """How many sequences of a length are about so many tokens; one at least."""
    return max(1, tokens // length)
