"""Small models of every family that GGUF files are made of, with what only some of it have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.files import read_json, write_json
from tests.support.small_runs import save_tiny_type

LLAMA_3_1: Mapping[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_SIZES: Mapping[str, Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 128,
    "intermediate_size": 256,
    "head_dim": 128,
    # More than there are positions: another window is refused.
    "sliding_window": 4096,
}
_GEMMA = {**_SIZES, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16}
CASES: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "llama": ("llama", _SIZES, {}),
    "llama, scaled as Llama 3.1": (
        "llama",
        {**_SIZES, "head_dim": 64},
        {"rope_parameters": {**LLAMA_3_1, "original_max_position_embeddings": 64}},
    ),
    "llama, scaled linearly": (
        "llama",
        _SIZES,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "mistral": ("mistral", _SIZES, {}),
    "qwen2": ("qwen2", _SIZES, {}),
    "qwen3": ("qwen3", _SIZES, {}),
    "qwen3, narrow heads": ("qwen3", {**_SIZES, "head_dim": 64}, {}),
    "gemma2": ("gemma2", _GEMMA, {}),
    "gemma3_text": ("gemma3_text", _GEMMA, {"layer_types": ["sliding_attention"] * 4}),
}
"""Names → a type of transformers, its sizes, and what its config says otherwise."""


def save_case(name: str, folder: Path, text: Path, **sizes: int) -> Path:
    """Save a model of a case, whose tokenizer was trained on `text`."""
    model_type, own, changes = CASES[name]
    save_tiny_type(model_type, folder, text, **{**own, **sizes})
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **changes})
    return folder
