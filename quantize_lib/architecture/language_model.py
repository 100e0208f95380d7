"""The language model inside a config: its own part of it, its vocabulary and its number of positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.wording import show

MAX_SIZE = 1 << 31
_TEXT_CONFIGS = ("text_config", "decoder", "generator", "language_config", "llm_config")
"""Where composite configs keep the language model's part: transformers' own words for it, then those of
models with code of their own."""
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_target_positions")
_TABLE = re.compile(r"(^|\.)(wpe|\w*position\w*)(\.|$)")
_MOST_OFFSET = 8
_OTHER_SENSES = re.compile(
    r"vision|visual|image|audio|speech|video|(^|\.)(vit|vqmodel|vq_model|patcher)(\.|$)|(^|\.)mtp(\.|$)"
)
"""In the names of parts beside the language model."""
EXPERTS = (
    *("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
    "n_experts",
)
"""How many experts a block has."""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config; the config itself where there is no other."""
    for key in _TEXT_CONFIGS:
        part = config.get(key)
        if isinstance(part, Mapping) and part:
            return text_config(part)
    return config


def vocabulary(config: Mapping[str, Any]) -> int:
    """Rows of the token embedding.

    Raises:
        SourceError: where config.json has no sensible number.
    """
    part = text_config(config)
    # Composite configs of old say it beside the part.
    return whole(part if "vocab_size" in part else config, "vocab_size")


def hidden_size(config: Mapping[str, Any]) -> int | None:
    """Channels of the hidden states, where the config says them."""
    return first_whole(text_config(config), _HIDDEN)


def block_count(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """The key and the number of decoder blocks, where the config says them."""
    part = text_config(config)
    for key in _BLOCKS:
        if (value := _whole(part.get(key))) is not None:
            return key, value
    return None


def positions(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> int | None:
    """How many tokens a sequence may have; None where positions are computed and have no end.

    Args:
        config: `config.json`.
        tensors: what the safetensors headers say: a learned table of positions is among them.
    """
    said = first_whole(text_config(config), _POSITIONS)
    tables = (
        info.shape[0]
        for name, info in tensors.items()
        if len(info.shape) == 2 and _TABLE.search(name) and not is_beside(name)
    )
    rows = next(tables, None)
    # Some tables have rows in front for padding.
    return said if rows is not None and said is not None and said <= rows <= said + _MOST_OFFSET else rows


def expert_count(config: Mapping[str, Any]) -> int | None:
    """How many experts a block has, where the config says so; one expert is a dense model."""
    part = text_config(config)
    counts = [value for key in EXPERTS if (value := _whole(part.get(key))) is not None]
    return next((count for count in counts if count > 1), None)


def whole(config: Mapping[str, Any], key: str) -> int:
    """A positive whole number of the config.

    Raises:
        SourceError: where it is missing or something else.
    """
    value = config.get(key)
    number = _whole(value)
    if number is None:
        problem = f"{key} is missing" if value is None else f"{key} is {show(value)}"
        raise SourceError(f"config.json: {problem}; a positive whole number is needed")
    return number


def is_beside(name: str) -> bool:
    """Whether a tensor belongs to another sense than text, or to a prediction of further tokens."""
    return _OTHER_SENSES.search(name) is not None


def first_whole(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    """The first of these keys that is a positive whole number; None where none is."""
    return next((value for key in keys if (value := _whole(config.get(key))) is not None), None)


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < MAX_SIZE:
        return value
    return None
