"""Model families whose GGUF files llama.cpp runs and transformers reads back exactly, and what a file says.

llama.cpp has a hundred architectures. transformers rebuilds a model's config from the file's metadata, and
fills in what they do not say with its classes' defaults: where those are not the model's, it is given the
`config.json` that lies beside the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.gemma import LAYERS, WANTED, gemma_refusal, write_gemma
from quantize_lib.gguf_file.rotary import is_scaled, rotary_refusal, write_rotary

if TYPE_CHECKING:
    from gguf import GGUFWriter


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that share an architecture of llama.cpp's.

    Attributes:
        architecture: llama.cpp's name.
        alternating: whether rows of queries and keys lie in pairs, as its rotary embedding takes them.
        wanted: values of `config.json` that llama.cpp takes for granted; None where the key is not there.
        names_width: whether the width of a head is in what transformers reads.
        scaled: the kinds of scaled rotary embeddings that llama.cpp knows for it.
        layers: names of tensors in a block that are other ones than most families'.
        shifted: whether norms are stored with one added.
        by_config: whether transformers always needs `config.json`, too.
        refusal: why a model is not what llama.cpp computes; it gets the config.
        write: writes what only this family has.
    """

    architecture: str
    alternating: bool = False
    wanted: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    names_width: bool = False
    scaled: tuple[str, ...] = ("linear",)
    layers: Mapping[str, str] = field(default_factory=dict)
    shifted: bool = False
    by_config: bool = False
    refusal: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    write: Callable[[GGUFWriter, Mapping[str, Any]], None] = lambda _writer, _config: None


_SILU = {"hidden_act": (None, "silu")}
_WITHOUT_BIASES = {"attention_bias": (None, False), "mlp_bias": (None, False)}
_LLAMA = Family(
    architecture="llama",
    alternating=True,
    names_width=True,
    wanted={**_SILU, **_WITHOUT_BIASES},
    scaled=("llama3", "linear"),
)
_ALL_POSITIONS = {"use_sliding_window": (None, False)}
_GEMMA = Family(
    architecture="gemma2",
    wanted=WANTED,
    scaled=(),
    layers=LAYERS,
    shifted=True,
    by_config=True,
    refusal=gemma_refusal,
    write=write_gemma,
)
FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    # transformers loads such a file as a Llama, and none with a Mistral's config.
    "mistral": replace(_LLAMA, scaled=()),
    "qwen2": Family(architecture="qwen2", wanted={**_SILU, **_ALL_POSITIONS}),
    "qwen3": Family(
        architecture="qwen3", wanted={**_SILU, **_ALL_POSITIONS, "attention_bias": (None, False)}
    ),
    "gemma2": _GEMMA,
    "gemma3_text": replace(_GEMMA, architecture="gemma3", scaled=("linear",)),
}
"""By `model_type`."""
_WINDOWS = ("use_sliding_window", "use_bidirectional_attention")
"""Keys of families that say elsewhere whether they have a window."""
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
    if not config:
        return None
    missing = next((key for key in _NEEDED if config.get(key) is None), None)
    if missing is not None:
        return f"config.json does not say {missing}, which such a file has to"
    if (reason := rotary_refusal(config, family.scaled)) is not None:
        return reason
    for key, values in family.wanted.items():
        if config.get(key) not in values:
            return f"such a file does not say {key}, which is {config.get(key)} here"
    window, positions = config.get("sliding_window"), config.get("max_position_embeddings")
    if (
        not any(key in family.wanted for key in _WINDOWS)
        and window is not None
        and window < (positions or window + 1)
    ):
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
    width = head_width(config)
    writer.add_type(GGUFType.MODEL)
    # By this very name transformers takes the file for one of a class that it then does not find.
    writer.add_name("Mistral" if name == "mistral" else name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    write_rotary(writer, config)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if config.get("head_dim"):
        writer.add_key_length(width)
        writer.add_value_length(width)
    if family.alternating:
        writer.add_rope_dimension_count(width)
    family.write(writer, config)
    writer.add_file_type(number)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def head_width(config: Mapping[str, Any]) -> int:
    """The width of a head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _own_width(config: Mapping[str, Any]) -> int:
    own = _OWN_WIDTH.get(str(config["model_type"]))
    return own or config["hidden_size"] // config["num_attention_heads"]
