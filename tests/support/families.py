"""Small random models of the types that most tests take, with two blocks in one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from tests.support.tiny_models import VOCABULARY, save_tiny, tiny_config

__all__ = ["CONFIGS", "HEADS", "HIDDEN", "LAYERS", "MLP", "VOCABULARY", "save_family"]

HIDDEN, MLP, LAYERS, HEADS = 128, 256, 2, 4
_TYPES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt_neox", "opt", "gpt2")
_SIZES = {
    **dict.fromkeys(("num_hidden_layers", "n_layer"), LAYERS),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), MLP),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
}
CONFIGS = {name: partial(tiny_config, name, sizes=_SIZES) for name in _TYPES}
"""model_type → makes its small config."""


def save_family(model_type: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a small model of a type."""
    return save_tiny(model_type, folder, dtype=dtype, sizes=_SIZES)
