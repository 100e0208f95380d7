"""Model folders made of nothing but headers and zeros, for tests that need no torch."""

from __future__ import annotations

import json
import string
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U8": 1, "F8_E4M3": 1}

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
"""96 and 160 are multiples of 32 and no more."""

LETTERS: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {letter: index for index, letter in enumerate(["<unk>", *string.ascii_letters])},
        "unk_token": "<unk>",
    },
}
"""A `tokenizer.json` with fewer tokens than the model has rows; indented, larger than an LFS pointer."""


def llama_shapes(config: Mapping[str, Any] = LLAMA) -> dict[str, tuple[int, ...]]:
    """Tensor name → shape of a Llama with an untied head."""
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for block in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{block}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, mlp)
        shapes[prefix + "mlp.gate_proj.weight"] = (mlp, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (mlp, hidden)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        shapes[prefix + "self_attn.k_proj.weight"] = (kv, hidden)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[prefix + "self_attn.q_proj.weight"] = (hidden, hidden)
        shapes[prefix + "self_attn.v_proj.weight"] = (kv, hidden)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def header_of(shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> dict[str, Any]:
    """The safetensors header of tensors that lie one after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    return header


def shard_bytes(header: object, data: int) -> bytes:
    """A safetensors file with that header and `data` zero bytes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def write_shard(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """A valid safetensors file of zeros."""
    data = sum(prod(shape) for shape in shapes.values()) * BYTES[dtype]
    path.write_bytes(shard_bytes(header_of(shapes, dtype), data))


def write_model(folder: Path, config: Mapping[str, Any] = LLAMA, *, shards: int = 1) -> Path:
    """A Llama of zeros with a tokenizer file, in one file or several."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(LETTERS, indent=4))
    shapes = llama_shapes(config)
    if shards == 1:
        write_shard(folder / "model.safetensors", shapes)
        return folder
    names = list(shapes)
    weight_map: dict[str, str] = {}
    for index in range(shards):
        file = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: shapes[name] for name in names[index::shards]}
        write_shard(folder / file, part)
        weight_map.update(dict.fromkeys(part, file))
    index_text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index_text)
    return folder
