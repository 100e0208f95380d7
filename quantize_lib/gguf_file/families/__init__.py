"""Model families that GGUF files are made of: one a file.

A family is here where llama.cpp computes what transformers does, and where each weight can be read back from
the file: by transformers itself, or, of an architecture whose files it does not read, by `reader`.
transformers rebuilds a model's config from the file's metadata, and fills in what they do not say with its
classes' defaults: where those are not the model's, it is given the `config.json` that lies beside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quantize_lib.gguf_file.families.entry import Family
from quantize_lib.gguf_file.rotary import is_scaled, rotary_refusal
from quantize_lib.registry import find_entries

FAMILIES = cast(Mapping[str, Family], find_entries(__name__, __path__, "FAMILY"))
"""By `model_type`."""
_NEEDED = (
    *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
    *("num_attention_heads", "vocab_size"),
)
"""Keys of `config.json` that a file's metadata are made of."""
RMS_NORM = "rms_norm_eps"
"""The key of the epsilon of norms, where it is no `layer_norm`."""
_OWN_WIDTH = {"qwen3": 128}
"""Width of a head that a class of transformers takes where the file's metadata do not reach it."""


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a model that is not refused."""
    return FAMILIES[str(config["model_type"])]


def refusal(model_type: str, config: Mapping[str, Any]) -> str | None:
    """Why a model is not made a GGUF file of; None where it is.

    Args:
        config: the language model's part of `config.json`; keys may be missing.
    """
    family = FAMILIES.get(model_type)
    if family is None:
        return f"no GGUF files are made of {model_type} (docs/how-to/gguf.md says of which types they are)"
    if not config:
        return None
    needed = (*_NEEDED, family.layer_norm or RMS_NORM, *family.needed)
    needed += family.experts.needed if family.experts else ()
    missing = next((key for key in needed if config.get(key) is None), None)
    if missing is None and family.experts is not None and family.experts.count(config) is None:
        missing = "the number of experts"
    if missing is not None:
        return f"config.json does not say {missing}, which such a file has to"
    head = head_width(config)
    if (reason := rotary_refusal(config, family.scaled, head, family.rotary_share)) is not None:
        return reason
    for key, values in family.wanted.items():
        if config.get(key) not in values:
            return f"such a file does not say {key}, which is {config.get(key)} here"
    if family.whole_heads and head * config["num_attention_heads"] != config["hidden_size"]:
        return f"llama.cpp takes hidden_size for the width of all heads, and one has {head} here"
    window, positions = config.get("sliding_window"), config["max_position_embeddings"]
    if not family.own_window and window is not None and window < positions:
        return f"llama.cpp has no sliding window (of {window} tokens here) for this model type"
    return family.refusal(config)


def needs_config(config: Mapping[str, Any]) -> bool:
    """Whether transformers reads a file exactly only with the `config.json` beside it.

    Args:
        config: the language model's part of it; that of another family needs nothing.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return False
    width = config.get("head_dim")
    other_width = not family.names_width and width not in (None, _own_width(config))
    return family.by_config or is_scaled(config) or other_width


def in_transformers(model_type: str) -> bool:
    """Whether transformers reads files of a model type; of those of no family here nothing else is known."""
    family = FAMILIES.get(model_type)
    return family is None or family.in_transformers


def shares_values(config: Mapping[str, Any]) -> bool:
    """Whether several heads share keys and values."""
    heads = config.get("num_attention_heads")
    return bool(config.get("num_key_value_heads", heads) != heads)


def head_width(config: Mapping[str, Any]) -> int:
    """The width of a head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _own_width(config: Mapping[str, Any]) -> int:
    own = _OWN_WIDTH.get(str(config["model_type"]))
    return own or config["hidden_size"] // config["num_attention_heads"]
