"""What is known of the supported architectures without their code: the linear layers and their sizes.

A family is one line in `FAMILIES`. Sizes are expressions over the config's own keys, so that the layers of
a model are known from its `config.json` before a byte of its weights is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_lib.errors import SourceError

MAX_SIZE = 1 << 31
MAX_BLOCKS = 10_000


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type`.

    Attributes:
        blocks: full module name of the list of decoder blocks, as transformers names it.
        layers: the linear layers of a block by relative name, in the order of the model's modules:
            (input size, output size) as words of `sizes`.
        embedding: full module name of the token embedding.
        base_prefix: what transformers puts in front of the base model's names; a checkpoint may lack it.
        keys: the config's keys for hidden, mlp, blocks and heads.
        key_value_heads, head_dim: what the config class takes where `config.json` says nothing;
            None for "as many as heads" and "hidden / heads".
        conv1d: weights lie as (in, out) on disk.
    """

    blocks: str
    layers: Mapping[str, tuple[str, str]]
    embedding: str
    base_prefix: str
    keys: Mapping[str, str] = field(
        default_factory=lambda: {
            "hidden": "hidden_size",
            "mlp": "intermediate_size",
            "blocks": "num_hidden_layers",
            "heads": "num_attention_heads",
        }
    )
    key_value_heads: int | None = None
    head_dim: int | None = None
    embedding_key: str = "hidden_size"
    conv1d: bool = False


_GATED_LAYERS = {
    "self_attn.q_proj": ("hidden", "q"),
    "self_attn.k_proj": ("hidden", "kv"),
    "self_attn.v_proj": ("hidden", "kv"),
    "self_attn.o_proj": ("q", "hidden"),
    "mlp.gate_proj": ("hidden", "mlp"),
    "mlp.up_proj": ("hidden", "mlp"),
    "mlp.down_proj": ("mlp", "hidden"),
}


def _gated(*, key_value_heads: int | None = None, head_dim: int | None = None) -> Family:
    return Family(
        blocks="model.layers",
        layers=_GATED_LAYERS,
        embedding="model.embed_tokens",
        base_prefix="model",
        key_value_heads=key_value_heads,
        head_dim=head_dim,
    )


FAMILIES: Mapping[str, Family] = {
    "gemma2": _gated(key_value_heads=4, head_dim=256),
    "gpt2": Family(
        blocks="transformer.h",
        layers={
            "attn.c_attn": ("hidden", "qkv"),
            "attn.c_proj": ("q", "hidden"),
            "mlp.c_fc": ("hidden", "mlp"),
            "mlp.c_proj": ("mlp", "hidden"),
        },
        embedding="transformer.wte",
        base_prefix="transformer",
        keys={"hidden": "n_embd", "mlp": "n_inner", "blocks": "n_layer", "heads": "n_head"},
        embedding_key="n_embd",
        conv1d=True,
    ),
    "gpt_neox": Family(
        blocks="gpt_neox.layers",
        layers={
            "attention.query_key_value": ("hidden", "qkv"),
            "attention.dense": ("q", "hidden"),
            "mlp.dense_h_to_4h": ("hidden", "mlp"),
            "mlp.dense_4h_to_h": ("mlp", "hidden"),
        },
        embedding="gpt_neox.embed_in",
        base_prefix="gpt_neox",
    ),
    "llama": _gated(),
    "mistral": _gated(key_value_heads=8),
    "opt": Family(
        blocks="model.decoder.layers",
        layers={
            "self_attn.k_proj": ("hidden", "kv"),
            "self_attn.v_proj": ("hidden", "kv"),
            "self_attn.q_proj": ("hidden", "q"),
            "self_attn.out_proj": ("q", "hidden"),
            "fc1": ("hidden", "mlp"),
            "fc2": ("mlp", "hidden"),
        },
        embedding="model.decoder.embed_tokens",
        base_prefix="model",
        keys={
            "hidden": "hidden_size",
            "mlp": "ffn_dim",
            "blocks": "num_hidden_layers",
            "heads": "num_attention_heads",
        },
        embedding_key="word_embed_proj_dim",
    ),
    "phi3": Family(
        blocks="model.layers",
        layers={
            "self_attn.o_proj": ("q", "hidden"),
            "self_attn.qkv_proj": ("hidden", "qkv"),
            "mlp.gate_up_proj": ("hidden", "gate_up"),
            "mlp.down_proj": ("mlp", "hidden"),
        },
        embedding="model.embed_tokens",
        base_prefix="model",
    ),
    "qwen2": _gated(key_value_heads=32),
    "qwen3": _gated(key_value_heads=32, head_dim=128),
}
"""model_type → family; every member is quantized, reloaded and compared in the tests."""

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
    shown = _named(model_type, config)
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
    if config.get("quantization_config") is not None:
        quantization = config["quantization_config"]
        how = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
        raise SourceError(
            f"{shown} is already quantized" + (f" ({how})" if isinstance(how, str) else ""),
            hint="Name the full-precision model that it was made from.",
        )
    if model_type not in FAMILIES:
        raise SourceError(f"{shown} is not supported", hint=supported)
    classes = _classes(config)
    if classes and not any(name.endswith(_CAUSAL_ENDINGS) for name in classes):
        raise SourceError(
            f"{shown} is not a causal language model",
            hint="Name a model whose config.json lists a …ForCausalLM class under architectures.",
        )
    return FAMILIES[model_type]


def sizes(family: Family, config: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a family's layers are made of.

    Returns:
        blocks (their number); and in channels hidden, mlp, q, kv, qkv, gate_up and embedding (columns of the
        token embedding).

    Raises:
        SourceError: where `config.json` lacks one or has something else than a sensible whole number.
    """
    keys = family.keys
    hidden = _number(config, keys["hidden"])
    heads = _number(config, keys["heads"])
    # GPT-2 writes null for "four times hidden".
    mlp = _number(config, keys["mlp"], default=4 * hidden if family.conv1d else None)
    head_dim = _number(config, "head_dim", default=family.head_dim or max(hidden // heads, 1))
    key_value_heads = _number(config, "num_key_value_heads", default=family.key_value_heads or heads)
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
        "gate_up": 2 * mlp,
        "embedding": _number(config, family.embedding_key, default=hidden),
    }


def vocabulary(config: Mapping[str, Any]) -> int:
    """Rows of the token embedding.

    Raises:
        SourceError: as `sizes`.
    """
    return _number(config, "vocab_size")


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


def _named(model_type: str, config: Mapping[str, Any]) -> str:
    """`T5ForConditionalGeneration (t5)`, fit for a message whatever the file says."""
    classes = _classes(config)
    shown = f"{classes[0]} ({model_type})" if classes else f"the architecture {model_type}"
    return "".join(c for c in shown[:120] if c.isprintable())
