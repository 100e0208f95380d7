"""Types of the values that transformers' config classes insist on, known without transformers.

A test compares every family here with its class. Keys that no class names take anything.
"""

from __future__ import annotations

from collections.abc import Mapping

_SIZES = "hidden_size max_position_embeddings num_attention_heads num_hidden_layers"
_GATED = {
    "whole": f"{_SIZES} intermediate_size",
    "decimal": "initializer_range rms_norm_eps",
    "text": "hidden_act",
}
_EVERY = {
    "bool": "tie_word_embeddings use_cache",
    "whole": "vocab_size",
    "whole or null": "bos_token_id pad_token_id",
    "ids or null": "eos_token_id",
}
_QWEN = {
    "bool": "use_sliding_window",
    "whole": "max_window_layers",
    "whole or null": "num_key_value_heads sliding_window",
    "number": "attention_dropout",
    "texts or null": "layer_types",
}
_FAMILIES: Mapping[str, tuple[Mapping[str, str], ...]] = {
    "gemma2": (
        {
            "bool": "attention_bias",
            "bool or null": "use_bidirectional_attention",
            "whole": f"{_SIZES} intermediate_size head_dim num_key_value_heads query_pre_attn_scalar",
            "whole or null": "sliding_window",
            "decimal": "initializer_range rms_norm_eps",
            "decimal or null": "attn_logit_softcapping final_logit_softcapping",
            "number or null": "attention_dropout",
            "text": "hidden_activation",
            "texts or null": "layer_types",
        },
    ),
    "gpt2": (
        {
            "bool": "add_cross_attention reorder_and_upcast_attn scale_attn_by_inverse_layer_idx "
            "scale_attn_weights summary_proj_to_labels summary_use_proj",
            "whole": "n_embd n_head n_layer n_positions",
            "whole or null": "n_inner",
            "decimal": "initializer_range layer_norm_epsilon",
            "number": "attn_pdrop embd_pdrop resid_pdrop summary_first_dropout",
            "text": "activation_function summary_type",
            "text or null": "summary_activation",
        },
    ),
    "gpt_neox": (
        {
            "bool": "attention_bias is_decoder use_parallel_residual",
            "whole": f"{_SIZES} intermediate_size",
            "decimal": "initializer_range layer_norm_eps",
            "number": "attention_dropout classifier_dropout hidden_dropout",
            "text": "hidden_act",
        },
    ),
    "llama": (
        _GATED,
        {
            "bool": "attention_bias mlp_bias",
            "whole or null": "head_dim num_key_value_heads pretraining_tp",
            "number or null": "attention_dropout",
        },
    ),
    "mistral": (
        _GATED,
        {
            "whole": "num_key_value_heads",
            "whole or null": "head_dim sliding_window",
            "number": "attention_dropout",
        },
    ),
    "opt": (
        {
            "bool": "_remove_final_layer_norm do_layer_norm_before enable_bias layer_norm_elementwise_affine",
            "whole": f"{_SIZES} ffn_dim",
            "whole or null": "word_embed_proj_dim",
            "decimal": "init_std",
            "number": "attention_dropout dropout layerdrop",
            "text": "activation_function",
        },
    ),
    "phi3": (
        _GATED,
        {
            "whole": "original_max_position_embeddings",
            "whole or null": "num_key_value_heads sliding_window",
            "number": "attention_dropout embd_pdrop resid_pdrop",
        },
    ),
    "qwen2": (_GATED, _QWEN),
    "qwen3": (_GATED, _QWEN, {"bool": "attention_bias", "whole": "head_dim"}),
}

TYPES: Mapping[str, Mapping[str, str]] = {
    family: {key: kind for part in (_EVERY, *parts) for kind, keys in part.items() for key in keys.split()}
    for family, parts in _FAMILIES.items()
}
"""model_type → key → kind of value: bool, whole, decimal, number (either), text, ids, texts; `… or null`."""

ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function")
ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "prelu", "quick_gelu"),
    *("relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "xielu"),
)
"""The activation functions that transformers knows."""
