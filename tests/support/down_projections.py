"""What is known of a model of down projections alone, for tests of sizes and memory."""

from __future__ import annotations

from math import prod

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.source.facts import ModelFacts
from tests.support.model_files import LLAMA


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
