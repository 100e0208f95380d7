"""The head of a model that says that it is tied, and whose files hold a head of its own all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import TIED
from quantize_lib.architecture.placing import difference_note, open_question, stored_apart
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.engine.shards import open_shard, read_tensor

_PIECE = 1 << 20
"""Values that are compared at a time."""

_Facts = TypeVar("_Facts", bound=Architecture)


def settle_head(folder: Path, facts: _Facts) -> _Facts:
    """Compare such a head with the embedding, and say of the model what transformers makes of it.

    Args:
        folder: the base model on disk.

    Returns:
        The same facts where there is no such head; without it where the two are equal; untied where they
        differ.

    Raises:
        SourceError: where a shard cannot be read.
    """
    pair = stored_apart(facts.config, facts.tensors)
    if pair is None:
        return facts
    embedding, head = pair
    answered = open_question(facts.config, facts.tensors)
    notes = tuple(note for note in facts.notes if note not in answered)
    if are_equal(folder, embedding, head):
        tensors = {name: info for name, info in facts.tensors.items() if name != head.name}
        return replace(facts, tensors=tensors, notes=notes)
    return replace(
        facts, config={**facts.config, TIED: False}, notes=(*notes, difference_note(embedding, head))
    )


def are_equal(folder: Path, one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two matrices of one shape have the same values, some rows at a time."""
    if one.stored is not None or other.stored is not None:
        return torch.equal(read_tensor(folder, one).float(), read_tensor(folder, other).float())
    rows, columns = one.shape
    step = max(_PIECE // columns, 1)
    with open_shard(folder, one.file) as first, open_shard(folder, other.file) as second:
        left, right = first.get_slice(one.name), second.get_slice(other.name)
        return all(
            # float32 holds every value of the dtypes that are read.
            torch.equal(left[start : start + step].float(), right[start : start + step].float())
            for start in range(0, rows, step)
        )
