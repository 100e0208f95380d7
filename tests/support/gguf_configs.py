"""Configs of every family that GGUF files are made of, as far as a file says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""As Llama 3's tokenizer.json has it."""
LLAMA_3_1: Mapping[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN: Mapping[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIG: Mapping[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 2,
    "head_dim": 128,
    "rms_norm_eps": 1e-5,
    "vocab_size": 300,
    "hidden_act": "silu",
}
_GEMMA: Mapping[str, Any] = {
    **CONFIG,
    "hidden_act": None,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 128,
    "sliding_window": 64,
}
_MIXTURE: Mapping[str, Any] = {
    **CONFIG,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
}
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {
        **_GEMMA,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gemma3_text": {**_GEMMA, "rope_theta": 1e6, "rope_local_base_freq": 10_000, "sliding_window_pattern": 6},
    "gemma": {**CONFIG, "hidden_act": "gelu_pytorch_tanh"},
    "arcee": {**CONFIG, "hidden_act": "relu2"},
    "cohere2": {**CONFIG, "layer_norm_eps": 1e-5, "sliding_window": 64, "logit_scale": 0.25},
    "exaone4": {**CONFIG, "sliding_window": None},
    "granite": {
        **CONFIG,
        "attention_multiplier": 0.1,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.2,
        "logits_scaling": 8.0,
    },
    "mixtral": {**CONFIG, "num_local_experts": 8, "num_experts_per_tok": 2},
    "olmo3": {**CONFIG, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
    "olmoe": _MIXTURE,
    "qwen2_moe": {**_MIXTURE, "shared_expert_intermediate_size": 64},
    "qwen3_moe": {**_MIXTURE, "norm_topk_prob": True},
    "stablelm": {**CONFIG, "layer_norm_eps": 1e-5},
}


def config_of(model_type: str, **words: Any) -> dict[str, Any]:
    """A plain model's, with other words where they are given."""
    return {**_CONFIGS.get(model_type, CONFIG), "model_type": model_type, **words}
