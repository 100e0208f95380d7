"""Small models of every family that GGUF files are made of, with what only some of it have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.files import read_json, write_json
from quantize_lib.formats import get_format
from quantize_lib.formats.loading import LoadRequest
from quantize_lib.gguf_file.families import in_transformers, needs_config
from tests.support.gguf_configs import LLAMA_3_1, YARN
from tests.support.small_runs import save_tiny_type

_SIZES: Mapping[str, Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
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
    "qwen2, with YaRN": ("qwen2", _SIZES, {"rope_parameters": YARN}),
    "gemma2": ("gemma2", _GEMMA, {}),
    "gemma3_text": ("gemma3_text", _GEMMA, {"layer_types": ["sliding_attention"] * 4}),
    "arcee": ("arcee", _SIZES, {}),
    "cohere2": (
        "cohere2",
        {**_SIZES, "sliding_window": 16},
        {"layer_types": ["sliding_attention"] * 3 + ["full_attention"], "logit_scale": 0.25},
    ),
    "ernie4_5": ("ernie4_5", _SIZES, {}),
    "exaone4": ("exaone4", _SIZES, {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
    "gemma": ("gemma", {**_SIZES, "head_dim": 64}, {}),
    "glm4": ("glm4", _SIZES, {"partial_rotary_factor": 0.5}),
    "granite": (
        "granite",
        _SIZES,
        {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 4.0,
        },
    ),
    "mixtral": ("mixtral", _SIZES, {}),
    "olmo2": ("olmo2", _SIZES, {}),
    "olmo3": (
        "olmo3",
        {**_SIZES, "sliding_window": 16},
        {
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "rope_parameters": {
                "full_attention": {**YARN, "attention_factor": 1.1386},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "olmoe": ("olmoe", {**_SIZES, "num_key_value_heads": 4}, {}),
    "phi3": ("phi3", _SIZES, {}),
    "phi3, for long texts": (
        "phi3",
        {**_SIZES, "hidden_size": 256},
        {
            # llama.cpp's shortest context, for which it takes the factors of short texts.
            "original_max_position_embeddings": 256,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "short_factor": [1.0 + pair / 16 for pair in range(16)],
                "long_factor": [4.0] * 16,
            },
        },
    ),
    "qwen2_moe": ("qwen2_moe-all", _SIZES, {}),
    "qwen3_moe": ("qwen3_moe", _SIZES, {"norm_topk_prob": True}),
    "seed_oss": ("seed_oss", _SIZES, {}),
    "smollm3": ("smollm3", _SIZES, {}),
    "stablelm": ("stablelm", _SIZES, {}),
}
"""Names → a type of transformers, its sizes, and what its config says otherwise."""
USUAL: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    model_type: (sizes, changes) for model_type, sizes, changes in reversed(list(CASES.values()))
}
"""Types → sizes and changes of the first case of each."""


def load_case(file: Path) -> Any:
    """The model of a file with `config.json` beside it: by plain transformers, where it reads such files."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = read_json(file.with_name("config.json"))
    if not in_transformers(config["model_type"]):
        request = LoadRequest(folder=str(file.parent), dtype="float32", device="cpu", trust_remote_code=False)
        loaded = get_format("gguf").load(request, {"gguf_file": file.name})
        assert not any(loaded.info[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        return loaded.model
    asked = {"config": AutoConfig.from_pretrained(file.parent)} if needs_config(config) else {}
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32", **asked)


def save_case(name: str, folder: Path, text: Path, **sizes: int) -> Path:
    """Save a model of a case, whose tokenizer was trained on `text`."""
    model_type, own, changes = CASES[name]
    save_tiny_type(model_type, folder, text, **{**own, **sizes})
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **changes})
    return folder
