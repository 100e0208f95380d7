"""Finds a model's blocks and linear layers by the names and shapes of its tensors.

No table of types: a list of blocks is what repeats under a number, a linear layer is a matrix called
`.weight` in it, experts are many matrices under numbers or one tensor of three dimensions. What stays
in full precision is said with the reason (`kept`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture.kept import is_router, reason_to_keep
from quantize_lib.architecture.language_model import block_count, hidden_size, is_beside
from quantize_lib.architecture.tensors import ONE_EXPERT, LayerInfo, TensorInfo

_NUMBERED = re.compile(r"(.*?)\.(\d+)\.(.+)")
_MIXING = re.compile(r"att|mixer|mamba|temporal_block|ssm|recurrent")
"""In the names of what mixes positions."""
_OUT = frozenset(
    [
        *("o_proj", "out_proj", "dense", "c_proj", "Wo", "wo", "linear_out", "wo_ud", "wo_b", "down_proj"),
        *("fc2", "fc_out", "dense_4h_to_h", "w2", "w_out", "output", "proj_down", "layer_2", "attention_out"),
    ]
)
"""Last names of layers that give hidden states back."""
_EXPERTS = re.compile(r"(^|\.|_)experts?(\.|$)")
_FUSED = (
    # Two layers over one input lie in one tensor: gate and up.
    (re.compile(r"(gate_up_proj|w13_weight|input_linear\.weight|fc1\.weight)$"), ("gate_proj", "up_proj")),
    (re.compile(r"(down_proj|w2_weight|output_linear\.weight|fc2\.weight)$"), ("down_proj",)),
    (re.compile(r"gate_proj$"), ("gate_proj",)),
    (re.compile(r"up_proj$"), ("up_proj",)),
)
"""Last names of tensors that hold a matrix of every expert, and the layers in them."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What was found.

    Attributes:
        blocks: names on disk of the list of decoder blocks; empty where there is none.
        count: how many blocks there are.
        layers: that can be quantized, in the model's order, by the names on disk.
        kept: what else has two or more dimensions in the blocks, by its name on disk, with the reason.
        conv1d: whether matrices lie as (in, out).
        experts: whether it is a mixture.
    """

    blocks: str
    count: int
    layers: tuple[LayerInfo, ...]
    kept: Mapping[str, str]
    conv1d: bool
    experts: bool


def find_structure(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Structure:
    """Find blocks and layers.

    Args:
        config: `config.json`.
        tensors: what the safetensors headers say, by the name on disk.
    """
    blocks = _list_of_blocks(tensors)
    inside: dict[int, dict[str, TensorInfo]] = defaultdict(dict)
    said = block_count(config)
    for name, info in tensors.items():
        found = _NUMBERED.match(name)
        if found is None or found[1] != blocks or not info.shape:
            continue
        # Blocks beyond the config's number predict further tokens, and are no part of the model.
        if said is None or int(found[2]) < said[1]:
            inside[int(found[2])][found[3]] = info
    conv1d = _is_conv1d(inside)
    layers: list[LayerInfo] = []
    kept: dict[str, str] = {}
    mixture = False
    for index in sorted(inside):
        block = _Block(f"{blocks}.{index}", inside[index], config, conv1d=conv1d)
        # As a forward comes by them, whatever the files' order.
        layers += sorted(block.layers(), key=_place)
        kept |= block.kept
        mixture = mixture or block.has_experts
    return Structure(
        blocks=blocks,
        count=len(inside),
        layers=tuple(layers),
        kept=kept,
        conv1d=conv1d,
        experts=mixture,
    )


def lists_of_blocks(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """How many matrices each list of blocks has, by its name on disk; lists of plain layers are none.

    Args:
        tensors: what the safetensors headers say, by the name on disk.
    """
    modules: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, info in tensors.items():
        found = _NUMBERED.match(name)
        if found is not None and len(info.shape) >= 2 and not is_beside(name):
            modules[found[1]][found[2]].add(found[3])
    return {
        name: sum(map(len, blocks.values()))
        for name, blocks in modules.items()
        if max(map(len, blocks.values())) > 1
    }


def _list_of_blocks(tensors: Mapping[str, TensorInfo]) -> str:
    """The list that holds most matrices of all that are not another sense's."""
    matrices: Counter[str] = Counter()
    for name, info in tensors.items():
        found = _NUMBERED.match(name)
        if found is not None and len(info.shape) >= 2 and not is_beside(name):
            matrices[found[1]] += 1
    return max(matrices, key=lambda name: matrices[name], default="")


def _is_conv1d(blocks: Mapping[int, Mapping[str, TensorInfo]]) -> bool:
    """Whether matrices lie as (in, out): a bias is as long as there are outputs, and tells.

    Source: transformers' Conv1D, which every layer of a GPT-2 is.
    """
    votes = Counter[bool]()
    for block in blocks.values():
        for relative, info in block.items():
            bias = block.get(relative.removesuffix("weight") + "bias")
            if bias is None or bias is info or len(bias.shape) != 1 or len(info.shape) != 2:
                continue
            if info.shape[0] != info.shape[1] and bias.shape[0] in info.shape:
                votes[bias.shape[0] == info.shape[1]] += 1
    return votes[True] > votes[False]


def _place(layer: LayerInfo) -> tuple[bool, bool, list[tuple[int, str]]]:
    """Attention before the rest, what leads out of either last; experts by their numbers."""
    parts = layer.name.split(".")
    natural = [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
    return not _MIXING.search(layer.name), parts[-1] in _OUT, natural


class _Block:
    """The tensors of one block.

    Args:
        prefix: its full name.
        tensors: by the name in the block.
    """

    def __init__(
        self, prefix: str, tensors: Mapping[str, TensorInfo], config: Mapping[str, Any], *, conv1d: bool
    ) -> None:
        self._prefix = prefix
        self._tensors = tensors
        self._hidden = hidden_size(config)
        self._conv1d = conv1d
        self._beside: dict[str, set[str]] = defaultdict(set)
        for relative in tensors:
            parts = relative.split(".")
            for depth in range(len(parts)):
                self._beside[".".join(parts[:depth])].add(parts[depth])
        self.has_experts = False
        self.kept: dict[str, str] = {}

    def layers(self) -> Iterator[LayerInfo]:
        """Its linear layers; what is none is in `kept` afterwards."""
        for relative, info in self._tensors.items():
            if len(info.shape) < 2:
                continue
            if self._is_fused(relative, info):
                yield from self._fused(relative, info)
                continue
            module, _, leaf = relative.rpartition(".")
            if ONE_EXPERT.search(relative):
                self.has_experts = True
            if len(info.shape) > 2:
                self.kept[info.name] = "a convolution" if "conv" in module else "no matrix"
            elif leaf != "weight":
                self.kept[info.name] = "a parameter that no linear layer holds"
            else:
                inputs, outputs = info.shape if self._conv1d else reversed(info.shape)
                reason = reason_to_keep(module, inputs, outputs, self._beside_of(module))
                if reason is None:
                    yield LayerInfo(
                        name=f"{self._prefix}.{module}",
                        in_features=inputs,
                        out_features=outputs,
                        tensor=info.name,
                    )
                else:
                    self.kept[info.name] = reason

    def _beside_of(self, module: str) -> set[str]:
        """The names in a module's own place and in the one around it, where a router's experts are."""
        place = module.rpartition(".")[0]
        return self._beside[place] | self._beside[place.rpartition(".")[0]]

    def _is_fused(self, relative: str, info: TensorInfo) -> bool:
        """Whether a tensor holds a matrix of every expert: it says so, or a router stands beside it."""
        if len(info.shape) != 3 or not any(pattern.search(relative) for pattern, _ in _FUSED):
            return False
        if _EXPERTS.search(relative):
            return True
        place = relative.removesuffix(".weight").rpartition(".")[0]
        return any(is_router(name, ()) for name in self._beside[place])

    def _fused(self, relative: str, info: TensorInfo) -> Iterator[LayerInfo]:
        self.has_experts = True
        stem, parts = next(
            (relative[: found.start()], parts)
            for pattern, parts in _FUSED
            if (found := pattern.search(relative))
        )
        experts, first, second = info.shape
        # The side of the hidden states; where both are as long, either will do.
        reads_hidden = parts != ("down_proj",)
        hidden_last = second == self._hidden
        inputs, outputs = (second, first) if hidden_last == reads_hidden else (first, second)
        for expert in range(experts):
            for part in parts:
                yield LayerInfo(
                    name=f"{self._prefix}.{stem}{expert}.{part}",
                    in_features=inputs,
                    out_features=outputs // len(parts),
                    tensor=info.name,
                    expert=expert,
                )
