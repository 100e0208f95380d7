"""A model as its config and headers describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a model is, before its weights are read.

    Attributes:
        config: `config.json`.
        tensors: what the safetensors headers say of what the model's class loads, by the name on disk.
        layers: the linear layers inside the decoder blocks that can be quantized, in the model's order.
        kept: what else has two or more dimensions in the blocks, by its name on disk, with the reason why it
            stays in full precision.
        blocks: names on disk of the lists of decoder blocks.
        experts: whether it is a mixture of experts.
        conv1d: whether the matrices of layers lie as (in, out).
        notes: what a user should know of the base model's files, a sentence each without a full stop; told in
            the log by plan and run, and in the report and on the card of every cell.
        strays: names on disk of the tensors that the class does not load.
        copied: those of them that a checkpoint gets as they are.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    layers: tuple[LayerInfo, ...]
    kept: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    experts: bool = False
    conv1d: bool = False
    notes: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    copied: tuple[TensorInfo, ...] = ()
