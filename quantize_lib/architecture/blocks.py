"""Which linear layers make up a block, and which of them share an input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from quantize_lib.architecture.tensors import LayerInfo

_SHARED_INPUTS = {
    "q_proj": "qkv",
    "k_proj": "qkv",
    "v_proj": "qkv",
    "gate_proj": "gate_up",
    "up_proj": "gate_up",
}


def inputs_by_block(layers: Iterable[LayerInfo]) -> list[list[list[LayerInfo]]]:
    """The layers of each block, those that share an input together; all in the model's order."""
    blocks: dict[str, dict[str, list[LayerInfo]]] = defaultdict(lambda: defaultdict(list))
    for layer in layers:
        last = layer.name.rpartition(".")[2]
        blocks[block_of(layer.name)][_SHARED_INPUTS.get(last, layer.name)].append(layer)
    return [list(inputs.values()) for inputs in blocks.values()]


def block_of(name: str) -> str:
    """The block that a layer belongs to: `model.layers.3` of `model.layers.3.mlp.up_proj`."""
    block, index, _ = split(name)
    return f"{block}.{index}"


def split(name: str) -> tuple[str, str, str]:
    """A layer's full name as list of blocks, index and name in the block."""
    parts = name.split(".")
    index = next(i for i, part in enumerate(parts) if part.isdecimal())
    return ".".join(parts[:index]), parts[index], ".".join(parts[index + 1 :])
