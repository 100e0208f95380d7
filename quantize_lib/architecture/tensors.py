"""Tensors and linear layers of a base model, as config and headers tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    name: str
    dtype: str
    """As safetensors writes it: F32, F16, BF16, …"""
    shape: tuple[int, ...]
    file: str
    """The shard, relative to the model's folder."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of a model's files, as transformers reads them.

    Attributes:
        tensors: by the name on disk.
        files: all that are read.
        index: the index that names them; "" where there is none.
        absent: the tensors that it lists and no file holds, each with the file that it names.
        missing: the files that it names and that are not there.
        notes: where index and files disagree; as those of `Architecture`.
    """

    tensors: Mapping[str, TensorInfo]
    files: tuple[str, ...]
    index: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """A linear layer that will be quantized, known from config and headers alone."""

    name: str
    """The module's full name, without `.weight`."""
    in_features: int
    out_features: int
