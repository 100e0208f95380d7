"""Gemma 2, and what the text models of Gemma 3 have in common with it.

Source: src/models/gemma2.cpp and gemma3.cpp of llama.cpp (MIT licence), in the version that llama-cpp-python
0.3.36 brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.families.entry import AROUND, Family, other_pattern

if TYPE_CHECKING:
    from gguf import GGUFWriter

_WANTED: Mapping[str, tuple[Any, ...]] = {
    "hidden_activation": (None, "gelu_pytorch_tanh"),
    "attention_bias": (None, False),
    "use_bidirectional_attention": (None, False),
    "tie_word_embeddings": (None, True),
}
_PATTERN = {"gemma2": 2, "gemma3_text": 6}
"""The last of so many layers sees the whole text, the others a window of it."""
_LARGE = {"gemma2": 46, "gemma3_text": 62}
"""Layers of the 27B models, whose queries are scaled in another way."""
_LOCAL_BASE = 10_000.0
"""Of the rotary embedding in a window."""


def _refusal(config: Mapping[str, Any]) -> str | None:
    """Why llama.cpp would compute another thing than a Gemma 2 or 3 does; None where it would not.

    Args:
        config: of a model with all keys that any family needs.
    """
    kind, layers = str(config["model_type"]), int(config["num_hidden_layers"])
    if not config.get("sliding_window") or not config.get("head_dim"):
        return "config.json does not say sliding_window or head_dim, which such a file has to"
    if (reason := other_pattern(config, every=_PATTERN[kind])) is not None:
        return reason
    scalar = config.get("query_pre_attn_scalar", config["head_dim"])
    large = config["hidden_size"] / config["num_attention_heads"]
    if scalar != (large if layers == _LARGE[kind] else config["head_dim"]):
        return (
            f"llama.cpp scales queries by the width of a head, not by query_pre_attn_scalar ({scalar} here)"
        )
    caps = {key: config.get(key) for key in ("attn_logit_softcapping", "final_logit_softcapping")}
    for key, value in caps.items():
        if (value is None) == (kind == "gemma2"):
            return f"llama.cpp does not leave {key} open for this model type, which is {value} here"
    if kind != "gemma2" and _local_base(config) != _LOCAL_BASE:
        return f"llama.cpp takes {_LOCAL_BASE:g} for the base of rotary embeddings in a window"
    return None


def _write(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """Write what only such models have."""
    writer.add_sliding_window(config["sliding_window"])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def _local_base(config: Mapping[str, Any]) -> float | None:
    """The base in a window; None where it is scaled."""
    told = config.get("rope_parameters")
    local = told.get("sliding_attention") if isinstance(told, Mapping) else None
    if not isinstance(local, Mapping):
        return float(config.get("rope_local_base_freq") or _LOCAL_BASE)
    if local.get("rope_type") not in (None, "default"):
        return None
    return float(local.get("rope_theta") or _LOCAL_BASE)


FAMILY = Family(
    name="gemma2",
    architecture="gemma2",
    such_as="Gemma 2",
    where="with its attention windows",
    wanted=_WANTED,
    scaled=(),
    layers={**AROUND, "pre_feedforward_layernorm": "ffn_norm"},
    shifted=True,
    own_window=True,
    refusal=_refusal,
    write=_write,
)
