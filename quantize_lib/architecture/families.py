"""What is known of the supported architectures without their code: the linear layers and their sizes.

A family is one line in `FAMILIES`. Sizes are expressions over the config's own keys, so that the layers of
a model are known from its `config.json` before a byte of its weights is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from quantize_lib.architecture.family import Family, Parameter, Rows, Switch, biases, norms
from quantize_lib.errors import SourceError

MAX_SIZE = 1 << 31
MAX_BLOCKS = 10_000
HEAD = "lm_head"
"""Full module name of the head, in every family."""
TIED = "tie_word_embeddings"


_GATED_LAYERS = {
    "self_attn.q_proj": ("hidden", "q"),
    "self_attn.k_proj": ("hidden", "kv"),
    "self_attn.v_proj": ("hidden", "kv"),
    "self_attn.o_proj": ("q", "hidden"),
    "mlp.gate_proj": ("hidden", "mlp"),
    "mlp.up_proj": ("hidden", "mlp"),
    "mlp.down_proj": ("mlp", "hidden"),
}
_GPT2_LAYERS = {
    "attn.c_attn": ("hidden", "qkv"),
    "attn.c_proj": ("q", "hidden"),
    "mlp.c_fc": ("hidden", "mlp"),
    "mlp.c_proj": ("mlp", "hidden"),
}
_NEOX_LAYERS = {
    "attention.query_key_value": ("hidden", "qkv"),
    "attention.dense": ("q", "hidden"),
    "mlp.dense_h_to_4h": ("hidden", "mlp"),
    "mlp.dense_4h_to_h": ("mlp", "hidden"),
}
_OPT_LAYERS = {
    "self_attn.k_proj": ("hidden", "kv"),
    "self_attn.v_proj": ("hidden", "kv"),
    "self_attn.q_proj": ("hidden", "q"),
    "self_attn.out_proj": ("q", "hidden"),
    "fc1": ("hidden", "mlp"),
    "fc2": ("mlp", "hidden"),
}
_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_ATTENTION_BIASES = biases(_GATED_LAYERS, _ATTENTION, Switch(key="attention_bias", default=False))
_TWO_NORMS = norms("input_layernorm", "post_attention_layernorm")
_QK_NORMS = norms("self_attn.q_norm", "self_attn.k_norm", size="head_dim")
_OPT_AFFINE = Switch(key="layer_norm_elementwise_affine", default=True)


def _gated(
    *further: Parameter,
    key_value_heads: int | None = None,
    head_dim: int | None = None,
    tied: bool = False,
    even_heads: bool = False,
) -> Family:
    return Family(
        blocks="model.layers",
        layers=_GATED_LAYERS,
        embedding="model.embed_tokens",
        inside=(*_TWO_NORMS, *further),
        outside=norms("model.norm"),
        base_prefix="model",
        key_value_heads=key_value_heads,
        head_dim=head_dim,
        tied=tied,
        even_heads=even_heads,
    )


FAMILIES: Mapping[str, Family] = {
    "gemma2": _gated(
        *_ATTENTION_BIASES,
        *norms("pre_feedforward_layernorm", "post_feedforward_layernorm"),
        key_value_heads=4,
        head_dim=256,
        tied=True,
        even_heads=True,
    ),
    "gpt2": Family(
        blocks="transformer.h",
        layers=_GPT2_LAYERS,
        embedding="transformer.wte",
        inside=(*norms("ln_1", "ln_2", bias=True), *biases(_GPT2_LAYERS, _GPT2_LAYERS)),
        outside=(
            Parameter(name="transformer.wpe.weight", shape=(Rows(key="n_positions", default=1024), "hidden")),
            *norms("transformer.ln_f", bias=True),
        ),
        base_prefix="transformer",
        keys={"hidden": "n_embd", "mlp": "n_inner", "blocks": "n_layer", "heads": "n_head"},
        embedding_key="n_embd",
        conv1d=True,
        tied=True,
        left_overs=("attn.bias", "attn.masked_bias", "crossattention.bias"),
        padded=False,
        even_heads=True,
    ),
    "gpt_neox": Family(
        blocks="gpt_neox.layers",
        layers=_NEOX_LAYERS,
        embedding="gpt_neox.embed_in",
        inside=(
            *norms("input_layernorm", "post_attention_layernorm", bias=True),
            *biases(
                _NEOX_LAYERS,
                ("attention.query_key_value", "attention.dense"),
                Switch(key="attention_bias", default=True),
            ),
            *biases(_NEOX_LAYERS, ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")),
        ),
        outside=norms("gpt_neox.final_layer_norm", bias=True),
        base_prefix="gpt_neox",
        renamed={"embed_out.": "lm_head."},
        left_overs=("attention.bias", "attention.masked_bias"),
        padded=False,
        even_heads=True,
    ),
    "llama": _gated(
        *_ATTENTION_BIASES,
        *biases(
            _GATED_LAYERS,
            ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
            Switch(key="mlp_bias", default=False),
        ),
        even_heads=True,
    ),
    "mistral": _gated(key_value_heads=8),
    "opt": Family(
        blocks="model.decoder.layers",
        layers=_OPT_LAYERS,
        embedding="model.decoder.embed_tokens",
        inside=(
            *biases(_OPT_LAYERS, _OPT_LAYERS, Switch(key="enable_bias", default=True)),
            *norms("self_attn_layer_norm", "final_layer_norm", bias=True, switches=(_OPT_AFFINE,)),
        ),
        outside=(
            Parameter(
                name="model.decoder.embed_positions.weight",
                shape=(Rows(key="max_position_embeddings", default=2048, more=2), "hidden"),
            ),
            *norms(
                "model.decoder.final_layer_norm",
                bias=True,
                switches=(
                    Switch(key="do_layer_norm_before", default=True),
                    Switch(key="_remove_final_layer_norm", default=False, wanted=False),
                    _OPT_AFFINE,
                ),
            ),
            Parameter(
                name="model.decoder.project_in.weight",
                shape=("hidden", "embedding"),
                unlike=("hidden", "embedding"),
            ),
            Parameter(
                name="model.decoder.project_out.weight",
                shape=("embedding", "hidden"),
                unlike=("hidden", "embedding"),
            ),
        ),
        base_prefix="model",
        keys={
            "hidden": "hidden_size",
            "mlp": "ffn_dim",
            "blocks": "num_hidden_layers",
            "heads": "num_attention_heads",
        },
        embedding_key="word_embed_proj_dim",
        tied=True,
        even_heads=True,
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
        inside=_TWO_NORMS,
        outside=norms("model.norm"),
        base_prefix="model",
    ),
    "qwen2": _gated(*biases(_GATED_LAYERS, _ATTENTION[:3]), key_value_heads=32),
    "qwen3": _gated(*_ATTENTION_BIASES, *_QK_NORMS, key_value_heads=32, head_dim=128),
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
        blocks (their number); and in channels hidden, mlp, q, kv, qkv, head_dim, gate_up and embedding
        (columns of the token embedding).

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
