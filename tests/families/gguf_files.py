"""Says whether a GGUF file is good, by the package `gguf` alone: its names of tensors, its reader.

Good means: every tensor of the base model is there, matrices within what blocks of their type may change, all
else as it was; and what is loaded from the file computes what the base model does with these tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.families.base_model import Base, Wrong

_NUMBER = re.compile(r"(?<=experts\.)(\d+)\.")
_OTHER_NAMES = {
    "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.w2": "ffn_down_exps",
    "block_sparse_moe.experts.w3": "ffn_up_exps",
}
"""Of Mixtral's, which the package knows under those of another file."""
_MOST = {"F32": 0.0, "F16": 0.001, "BF16": 0.004, "Q8_0": 0.01, "Q6_K": 0.03, "Q5_0": 0.07, "Q5_1": 0.07}
_OF_FOUR_BITS = 0.13
"""Error of a matrix, relative to it."""


def read_meant(base: Base, file: Path) -> tuple[dict[str, Tensor], int]:
    """What a file means, by the names of the base model's tensors, and how many of them are in blocks.

    Raises:
        Wrong: where a tensor is left out, or is not the base model's.
    """
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(file)
    architecture = reader.get_field("general.architecture")
    names = _names(str(architecture.contents()) if architecture else "", base)
    stored = {str(tensor.name): tensor for tensor in reader.tensors}
    found: dict[str, Tensor] = {}
    blocks = 0
    for name, tensor in base.tensors.items():
        written, number = names[name]
        if (there := stored.get(written)) is None:
            raise Wrong(f"{name} is left out: the file has no {written}")
        kind = there.tensor_type.name
        # A copy: the file is mapped, and experts share a tensor.
        value = torch.from_numpy(dequantize(there.data, there.tensor_type).copy())
        value = (value if number is None else value[number]).reshape(tensor.shape)
        nearest = min(_readings(value, base.config), key=lambda one: float((one - tensor.float()).norm()))
        error = float((nearest - tensor.float()).norm() / tensor.float().norm())
        # One that was added to a norm, in float32, is taken away again.
        if error > (most := _MOST.get(kind, _OF_FOUR_BITS) + 1e-6):
            raise Wrong(f"{name} is {error:.4f} off the base's as {kind}, which is more than {most:.4f}")
        blocks += kind.startswith("Q")
        found[name] = nearest
    return found, blocks


def _names(architecture: str, base: Base) -> dict[str, tuple[str, int | None]]:
    """Names in the file, with the number of an expert in a tensor of all."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next((key for key, name in MODEL_ARCH_NAMES.items() if name == architecture), None)
    if number is None:
        raise Wrong(f"the package gguf has no architecture {architecture!r}")
    mapped = get_tensor_name_map(number, int(base.config["num_hidden_layers"]))
    found: dict[str, tuple[str, int | None]] = {}
    for name in base.tensors:
        module, _, leaf = name.rpartition(".")
        expert = _NUMBER.search(name)
        module = _NUMBER.sub("", module)
        written = mapped.get_name(module) or _other_name(module)
        if written is None:
            raise Wrong(f"the package gguf has no name for {name} in {architecture}")
        found[name] = (f"{written}.{leaf}", int(expert[1]) if expert else None)
    return found


def _other_name(module: str) -> str | None:
    for ending, written in _OTHER_NAMES.items():
        if module.endswith(ending):
            return f"blk.{module.split('.')[2]}.{written}"
    return None


def _readings(value: Tensor, config: Mapping[str, Any]) -> Iterator[Tensor]:
    """As it is; with one taken away; with the rows of heads that lie in pairs one half after the other."""
    yield value
    if value.dim() == 1:
        yield value - 1
    for key in ("num_attention_heads", "num_key_value_heads"):
        heads = config.get(key)
        if heads and len(value) % (2 * heads) == 0:
            pairs = value.unflatten(0, (heads, -1, 2))
            yield torch.stack([pairs[:, :, 0], pairs[:, :, 1]], 1).flatten(0, 2)
