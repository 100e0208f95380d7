"""Which linear layers make up a block, and which of them share an input."""

from __future__ import annotations

import re
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
INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")
"""A number in a name, of a block or an expert."""
_EXPERT = re.compile(r"experts?\.\d+$")
"""The end of an expert's name, where each has tensors of its own."""


def inputs_by_block(layers: Iterable[LayerInfo]) -> list[list[list[LayerInfo]]]:
    """The layers of each block, those that share an input together; all in the model's order."""
    blocks: dict[str, dict[str, list[LayerInfo]]] = defaultdict(lambda: defaultdict(list))
    for layer in layers:
        place, _, last = layer.name.rpartition(".")
        shared = _SHARED_INPUTS.get(last)
        blocks[block_of(layer.name)][layer.name if shared is None else f"{place} {shared}"].append(layer)
    return [list(inputs.values()) for inputs in blocks.values()]


def expert_of(layer: LayerInfo) -> str | None:
    """The expert that a layer belongs to, as in `model.layers.3.mlp.experts.5`; None where it is of none."""
    place = layer.name.rpartition(".")[0]
    return place if layer.expert is not None or is_expert(place) else None


def is_expert(module: str) -> bool:
    """Whether a module is one expert of several, by its name."""
    return _EXPERT.search(module) is not None


def block_of(name: str) -> str:
    """The block that a layer belongs to: `model.layers.3` of `model.layers.3.mlp.up_proj`."""
    block, index, _ = split(name)
    return f"{block}.{index}"


def of_all_blocks(name: str) -> str:
    """A module's or tensor's name with a `*` for each number, the same in every block and expert."""
    return INDEX.sub("*", name)


def split(name: str) -> tuple[str, str, str]:
    """A layer's full name as list of blocks, index and name in the block."""
    parts = name.split(".")
    index = next(i for i, part in enumerate(parts) if part.isdecimal())
    return ".".join(parts[:index]), parts[index], ".".join(parts[index + 1 :])
