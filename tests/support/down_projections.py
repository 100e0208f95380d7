"""What is known of a model of down projections alone, for tests of sizes and memory."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.files import write_json
from quantize_lib.source.facts import ModelFacts
from tests.support.model_files import LETTERS, LLAMA

_NAMED = {
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "vocab_size": 100,
}
"""What the metadata of a GGUF file are made of, beside `LLAMA`."""


def facts(blocks: int = 1, *, prefix: str = "model.") -> ModelFacts:
    """A down projection of the demo's model (1536 → 576) per block, and an embedding."""
    shapes: dict[str, tuple[int, ...]] = {prefix + "embed_tokens.weight": (100, 576)}
    layers = []
    for block in range(blocks):
        name = f"layers.{block}.mlp.down_proj"
        shapes[f"{prefix}{name}.weight"] = (576, 1536)
        layers.append(
            LayerInfo(
                name=f"model.{name}", in_features=1536, out_features=576, tensor=f"{prefix}{name}.weight"
            )
        )
    tensors = {
        name: TensorInfo(name=name, dtype="BF16", shape=shape, file="model.safetensors")
        for name, shape in shapes.items()
    }
    return ModelFacts(
        config={**LLAMA, "hidden_size": 1536},
        revision="",
        tensors=tensors,
        layers=tuple(layers),
        weight_bytes=sum(2 * prod(shape) for shape in shapes.values()),
        download_bytes=12345,
    )


def named_facts(blocks: int = 1) -> ModelFacts:
    """The same model, whose config says all that a GGUF file does. Large blocks fit into the rows of its
    projections, and not into those of its embedding."""
    found = facts(blocks)
    return replace(found, config={**found.config, **_NAMED, "num_hidden_layers": blocks})


def save_letters(folder: Path) -> Path:
    """A folder with a tokenizer that a GGUF file can hold."""
    folder.mkdir(exist_ok=True)
    splitting = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    write_json(folder / "tokenizer.json", {**LETTERS, "pre_tokenizer": splitting, "model": model})
    return folder
