"""Model families whose GGUF files llama.cpp runs and transformers reads back exactly, and what a file says.

llama.cpp has a hundred architectures. transformers rebuilds a model's config from the file's metadata, and
fills in what they do not say with its classes' defaults: a family is here with the values for which that is
right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter

_ROPE_THETA = 10_000.0
"""Of configs that do not say it."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that share an architecture of llama.cpp's.

    Attributes:
        architecture: llama.cpp's name.
        alternating: whether rows of queries and keys lie in pairs, as its rotary embedding takes them.
        wanted: values of `config.json` that transformers takes for granted; None where the key is not there.
        names_width: whether the width of a head is in what transformers reads.
    """

    architecture: str
    alternating: bool = False
    wanted: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    names_width: bool = False


_SILU = {"hidden_act": (None, "silu")}
_WITHOUT_BIASES = {"attention_bias": (None, False), "mlp_bias": (None, False)}
_LLAMA = Family(architecture="llama", alternating=True, names_width=True, wanted={**_SILU, **_WITHOUT_BIASES})
_ALL_POSITIONS = {"use_sliding_window": (None, False)}
FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family(architecture="qwen2", wanted={**_SILU, **_ALL_POSITIONS}),
    "qwen3": Family(
        architecture="qwen3", wanted={**_SILU, **_ALL_POSITIONS, "attention_bias": (None, False)}
    ),
}
"""By `model_type`."""
_NEEDED = (
    *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
    *("num_attention_heads", "rms_norm_eps", "vocab_size"),
)
"""Keys of `config.json` that a file's metadata are made of."""
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
        return (
            f"transformers is not known to read a file of this model type back exactly; those of "
            f"{', '.join(FAMILIES)} it does"
        )
    missing = next((key for key in _NEEDED if config and config.get(key) is None), None)
    if missing is not None:
        return f"config.json does not say {missing}, which such a file has to"
    kind = _rope(config).get("rope_type") or _rope(config).get("type")
    if kind not in (None, "default"):
        return f"transformers does not read rope_type {kind} back from a GGUF file"
    for key, values in family.wanted.items():
        if config.get(key) not in values:
            return f"transformers does not read {key} back from a GGUF file, which is {config.get(key)} here"
    window, positions = config.get("sliding_window"), config.get("max_position_embeddings")
    if (
        "use_sliding_window" not in family.wanted
        and window is not None
        and window < (positions or window + 1)
    ):
        return f"llama.cpp has no sliding window (of {window} tokens here) for this model type"
    width = config.get("head_dim")
    if config and not family.names_width and width not in (None, _own_width(model_type, config)):
        return (
            f"transformers does not read head_dim back from a GGUF file of this type, which is {width} here"
        )
    return None


def shares_values(config: Mapping[str, Any]) -> bool:
    """Whether several heads share keys and values."""
    heads = config.get("num_attention_heads")
    return bool(config.get("num_key_value_heads", heads) != heads)


def write_metadata(writer: GGUFWriter, config: Mapping[str, Any], *, name: str, number: int) -> None:
    """Write what a file says of its model, beside the vocabulary.

    Args:
        config: the language model's part of `config.json`.
        name: of the base model.
        number: `general.file_type`.
    """
    from gguf import GGML_QUANT_VERSION, GGUFType

    family = family_of(config)
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_type(GGUFType.MODEL)
    writer.add_name(name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_rope_freq_base(
        float(config.get("rope_theta") or _rope(config).get("rope_theta") or _ROPE_THETA)
    )
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if config.get("head_dim"):
        writer.add_key_length(width)
        writer.add_value_length(width)
    if family.alternating:
        writer.add_rope_dimension_count(width)
    writer.add_file_type(number)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return found if isinstance(found, Mapping) else {}


def _own_width(model_type: str, config: Mapping[str, Any]) -> int | None:
    if model_type in _OWN_WIDTH:
        return _OWN_WIDTH[model_type]
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    return hidden // heads if heads and hidden else None
