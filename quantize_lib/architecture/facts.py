"""A model as its config and headers describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a model is, before its weights are read.

    Attributes:
        config: `config.json`.
        tensors: what the safetensors headers say of what the model's class loads, by the name on disk.
        layers: the linear layers inside the decoder blocks, in the model's order.
        notes: what a user should know of the base model's files, a sentence each without a full stop; told in
            the log by plan and run, and in the report and on the card of every cell.
        strays: names on disk of the tensors that the class does not load.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    layers: tuple[LayerInfo, ...]
    notes: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
