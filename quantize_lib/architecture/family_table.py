"""The table of families: one line each, with sizes as words of `families.sizes`."""

from __future__ import annotations

from collections.abc import Mapping

from quantize_lib.architecture.family import Family, Parameter, Rows, Switch, biases, norms, weights

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
_GPT2_CROSS = Switch(key="add_cross_attention", default=False)
_GPT2_CROSS_LAYERS = {
    "crossattention.c_attn": ("hidden", "cross"),
    "crossattention.q_attn": ("hidden", "hidden"),
    "crossattention.c_proj": ("hidden", "hidden"),
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
        inside=(
            *norms("ln_1", "ln_2", bias=True),
            *biases(_GPT2_LAYERS, _GPT2_LAYERS),
            *norms("ln_cross_attn", bias=True, switches=(_GPT2_CROSS,)),
            *weights(_GPT2_CROSS_LAYERS, _GPT2_CROSS),
            *biases(_GPT2_CROSS_LAYERS, _GPT2_CROSS_LAYERS, _GPT2_CROSS),
        ),
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
