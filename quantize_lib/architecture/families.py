"""What is known of the supported architectures without their code: the linear layers and their sizes.

A family is one line in `family_table.FAMILIES`. Sizes are expressions over the config's own keys, so that
the layers of a model are known from its `config.json` before a byte of its weights is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from quantize_lib.architecture.family import Family, Rows
from quantize_lib.architecture.family_table import FAMILIES
from quantize_lib.errors import SourceError

MAX_SIZE = 1 << 31
MAX_BLOCKS = 10_000
HEAD = "lm_head"
"""Full module name of the head, in every family."""
TIED = "tie_word_embeddings"

SUPPORTED = ", ".join(FAMILIES)

_MIXTURES = frozenset(
    [
        *("dbrx", "deepseek_v2", "deepseek_v3", "ernie4_5_moe", "glm4_moe", "gpt_oss", "granitemoe", "jamba"),
        *("jetmoe", "llama4", "minimax", "mixtral", "nllb_moe", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe"),
        *("qwen3_next", "switch_transformers"),
    ]
)
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_MULTIMODAL = frozenset(
    [
        *("aria", "fuyu", "gemma3", "gemma3n", "idefics2", "idefics3", "internvl", "kosmos-2", "llava"),
        *("llava_next", "llava_onevision", "mistral3", "mllama", "paligemma", "phi4_multimodal", "pixtral"),
        *("qwen2_5_omni", "qwen2_5_vl", "qwen2_audio", "qwen2_vl", "qwen3_vl", "smolvlm", "whisper"),
    ]
)
_MULTIMODAL_KEYS = ("vision_config", "audio_config")
_CAUSAL_ENDINGS = ("ForCausalLM", "LMHeadModel")
_HEADS = ("lm_head.weight", "embed_out.weight")
_OTHER_HEADS = ("score", "classifier", "qa_outputs", "v_head", "value_head", "regression_head")


def get_family(config: Mapping[str, Any]) -> Family:
    """The family of a model.

    Args:
        config: `config.json`.

    Raises:
        SourceError: where the model is not supported, naming it, the reason and what is supported.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise SourceError(
            "config.json says no model_type, so the architecture is unknown", hint=f"Supported: {SUPPORTED}."
        )
    shown = named(config)
    supported = f"Supported now: {SUPPORTED}."
    experts = next((key for key in config if _says_experts(key, config[key])), None)
    if model_type in _MIXTURES or experts is not None:
        sign = "" if experts is None else f" ({experts}: {config[experts]})"
        raise SourceError(
            f"{shown} is a mixture of experts{sign}; these cannot be quantized yet, they come later",
            hint=supported,
        )
    if (
        model_type in _MULTIMODAL
        or any(config.get(key) for key in _MULTIMODAL_KEYS)
        or any(
            name.endswith("ForConditionalGeneration") and not _is_seq2seq(config) for name in _classes(config)
        )
    ):
        raise SourceError(
            f"{shown} is a vision-language or audio model; these cannot be quantized yet, they come later",
            hint=supported,
        )
    if _is_seq2seq(config):
        raise SourceError(
            f"{shown} is an encoder-decoder model; only decoders can be quantized", hint=supported
        )
    if model_type not in FAMILIES:
        raise SourceError(f"{shown} is not supported", hint=supported)
    return FAMILIES[model_type]


def is_causal(config: Mapping[str, Any]) -> bool:
    """Whether `architectures` lists a class that continues text; it need not list any."""
    return any(name.endswith(_CAUSAL_ENDINGS) for name in _classes(config))


def check_head(config: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse what was made for another task than to continue text; its tensors count, not `architectures`.

    Args:
        names: of the tensors, as they are on disk.

    Raises:
        SourceError: where the head of another task stands in the place of the language model's.
    """
    if not _classes(config) or is_causal(config) or any(name in _HEADS for name in names):
        return
    if any(name.partition(".")[0] in _OTHER_HEADS for name in names):
        raise SourceError(
            f"{named(config)} is not a causal language model",
            hint="Name a model whose config.json lists a …ForCausalLM class under architectures.",
        )


def sizes(family: Family, config: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a family's layers are made of.

    Returns:
        blocks (their number); and in channels hidden, mlp, q, kv, qkv, cross (keys and values
        of cross-attention), head_dim, gate_up and embedding (columns of the token embedding).

    Raises:
        SourceError: where `config.json` lacks one or has something else than a sensible whole number.
    """
    keys = family.keys
    hidden = _number(config, keys["hidden"])
    heads = _number(config, keys["heads"])
    # GPT-2 writes null for "four times hidden".
    mlp = _number(config, keys["mlp"], default=4 * hidden if family.conv1d else None)
    head_dim = _number(config, "head_dim", default=family.head_dim or max(hidden // heads, 1))
    # null is "as many as heads" where a missing key is the config class's own number.
    unsaid = heads if "num_key_value_heads" in config else family.key_value_heads or heads
    key_value_heads = _number(config, "num_key_value_heads", default=unsaid)
    q, kv = heads * head_dim, key_value_heads * head_dim
    blocks = _number(config, keys["blocks"])
    if blocks > MAX_BLOCKS:
        raise _bad(keys["blocks"], blocks)
    return {
        "blocks": blocks,
        "hidden": hidden,
        "mlp": mlp,
        "q": q,
        "kv": kv,
        "qkv": q + 2 * kv,
        "cross": 2 * hidden,
        "head_dim": head_dim,
        "gate_up": 2 * mlp,
        "embedding": _number(config, family.embedding_key, default=hidden),
    }


def vocabulary(config: Mapping[str, Any]) -> int:
    """Rows of the token embedding.

    Raises:
        SourceError: as `sizes`.
    """
    return _number(config, "vocab_size")


def rows(config: Mapping[str, Any], size: Rows) -> int:
    """A size that only one parameter has.

    Raises:
        SourceError: as `sizes`.
    """
    return _number(config, size.key, default=size.default) + size.more


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the config says, in words or by its class' default, that the head is the embedding.

    Raises:
        SourceError: where the model is not supported.
    """
    said = config.get(TIED)
    return said if isinstance(said, bool) else get_family(config).tied


def positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens a sequence may have; None where positions are computed and have no end.

    Raises:
        SourceError: as `sizes`.
    """
    # Of the sizes of its own that a parameter can have, the table of positions is the only one.
    sizes_of_their_own = (
        word for parameter in get_family(config).outside for word in parameter.shape if isinstance(word, Rows)
    )
    table = next(sizes_of_their_own, None)
    return None if table is None else _number(config, table.key, default=table.default)


def _number(config: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < MAX_SIZE:
        raise _bad(key, value)
    return value


def _bad(key: str, value: object) -> SourceError:
    problem = f"{key} is missing" if value is None else f"{key} is {str(value)[:40]!r}"
    return SourceError(f"config.json: {problem}; a positive whole number is needed")


def _says_experts(key: str, value: object) -> bool:
    if key not in _EXPERT_KEYS and not key.startswith("moe_"):
        return False
    # Dense members of such families write 0 or 1 expert.
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _is_seq2seq(config: Mapping[str, Any]) -> bool:
    return config.get("is_encoder_decoder") is True


def _classes(config: Mapping[str, Any]) -> list[str]:
    value = config.get("architectures")
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def named(config: Mapping[str, Any]) -> str:
    """`T5ForConditionalGeneration (t5)`, fit for a message whatever the file says."""
    classes, model_type = _classes(config), config.get("model_type")
    shown = f"{classes[0]} ({model_type})" if classes else f"the architecture {model_type}"
    return "".join(c for c in shown[:120] if c.isprintable())
