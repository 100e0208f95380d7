"""What is carried from block to block: hidden states, and for some models more than these."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

State = dict[str, Any]
"""What is carried: tensors by where they come from, changed containers by their number."""

FIRST = "in"
"""Where the first block's hidden states come from."""
CONTAINER = "container "
"""How the keys of containers begin."""


def start(hidden: Tensor) -> State:
    """What is carried to the first block."""
    return {FIRST: hidden}


def pack(state: State) -> Tensor:
    """What is carried as one tensor: the hidden states where it is no more than these, else its bytes."""
    if len(state) == 1:
        (only,) = state.values()
        if isinstance(only, Tensor):
            return only
    # Clones: of a view the whole tensor would be written.
    whole = trees.tree_map_only(Tensor, lambda leaf: leaf.detach().clone(), state)
    file = io.BytesIO()
    torch.save(whole, file)
    return torch.frombuffer(file.getbuffer(), dtype=torch.uint8).clone()


def unpack(packed: Tensor, keys: Iterable[str] = ()) -> State:
    """What `pack` was given.

    Args:
        keys: of what may be carried there; a tensor of its own is the one that comes from a block.
    """
    if is_plain(packed):
        return {next(key for key in keys if not key.startswith(CONTAINER)): packed}
    return dict(torch.load(io.BytesIO(packed.cpu().numpy().tobytes()), weights_only=True))


def is_plain(carried: Tensor) -> bool:
    """Whether hidden states are all that is carried."""
    return carried.dtype != torch.uint8


def hidden_of(packed: Tensor) -> Tensor:
    """The hidden states of what is carried: the first tensor of it."""
    return packed if is_plain(packed) else tensors_of(unpack(packed))[0]


def widened(packed: Tensor) -> Tensor:
    """What is carried, all numbers with a point in the dtype of the hidden states.

    Blocks that compute in bfloat16 hand on such keys and values beside hidden states in float32.
    """
    if is_plain(packed):
        return packed.clone()
    state = unpack(packed)
    dtype = tensors_of(state)[0].dtype
    return pack(
        trees.tree_map_only(Tensor, lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, state)
    )


def key_of(index: int, number: int) -> str:
    """The key of one of the tensors that a block returns."""
    return f"{index}/{number}"


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in tuples, lists and dictionaries."""
    return [leaf for leaf in trees.tree_leaves(value) if isinstance(leaf, Tensor)]
