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
        tensors: what the safetensors headers say, by the name on disk.
        layers: the linear layers inside the decoder blocks, in the model's order.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    layers: tuple[LayerInfo, ...]
