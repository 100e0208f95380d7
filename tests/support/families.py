"""Small random models from the real config classes, one of each supported family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

HIDDEN, MLP, LAYERS, HEADS, VOCABULARY = 128, 256, 2, 4, 512

_GATED: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_GATED),
    "mistral": lambda: MistralConfig(**_GATED, sliding_window=32),
    "qwen2": lambda: Qwen2Config(**_GATED),
    "qwen3": lambda: Qwen3Config(**_GATED, head_dim=32),
    "gemma2": lambda: Gemma2Config(**_GATED, head_dim=32, query_pre_attn_scalar=32, sliding_window=32),
    "phi3": lambda: Phi3Config(**_GATED),
    "gpt_neox": lambda: GPTNeoXConfig(
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
    ),
    "opt": lambda: OPTConfig(
        hidden_size=HIDDEN,
        word_embed_proj_dim=HIDDEN,
        ffn_dim=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
    ),
    "gpt2": lambda: GPT2Config(
        n_embd=HIDDEN,
        n_inner=MLP,
        n_layer=LAYERS,
        n_head=HEADS,
        vocab_size=VOCABULARY,
        n_positions=128,
        bos_token_id=1,
        eos_token_id=2,
    ),
}
"""model_type → its small config."""


def save_family(model_type: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random model of the family with weights large enough that every layer matters."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[model_type](), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
            else:
                # Norm weights of a trained model are not all one; Gemma's are offsets from one.
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.to(dtype).save_pretrained(folder)
    return folder
