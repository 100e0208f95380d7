"""Heads of attention, as a config says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture.language_model import block_count, first_whole, hidden_size, text_config

_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_HEAD_SIZES = ("head_dim", "kv_channels")
_COMPRESSED = "kv_lora_rank"
_FULL = "full_attention"
_BYTES = 2
"""Of a value in a cache of 16 bits, which servers keep by default."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of every block.

    Attributes:
        query: how many heads.
        key_value: how many of keys and values; fewer where heads share them.
        size: channels of a head.
    """

    query: int
    key_value: int
    size: int


def heads_of(config: Mapping[str, Any]) -> Heads | None:
    """The heads of a model; None where the config does not say them, or not the same for all blocks."""
    part = text_config(config)
    query, hidden = first_whole(part, _HEADS), hidden_size(config)
    if query is None or hidden is None:
        return None
    key_value = first_whole(part, _KEY_VALUE_HEADS)
    if part.get("multi_query") is True:
        key_value = key_value or 1
    size = first_whole(part, _HEAD_SIZES)
    if size is None and hidden % query:
        return None
    return Heads(query=query, key_value=key_value or query, size=size or hidden // query)


def cache_bytes(config: Mapping[str, Any], tokens: int) -> int | None:
    """What keys and values of so many tokens take in 16 bits.

    None where that does not follow from the config: compressed ones, windows, blocks without attention.
    """
    part = text_config(config)
    heads, blocks = heads_of(config), block_count(config)
    kinds = part.get("layer_types")
    if heads is None or blocks is None or part.get(_COMPRESSED) is not None:
        return None
    if part.get("sliding_window") and part.get("use_sliding_window", True) and not isinstance(kinds, list):
        return None
    if isinstance(kinds, list) and any(kind != _FULL for kind in kinds):
        return None
    return 2 * blocks[1] * heads.key_value * heads.size * _BYTES * tokens
