"""Tensors and linear layers of a base model, as config and headers tell of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ONE_EXPERT = re.compile(r"(?:^|\.)\w*experts?\.\d+\.")
"""In the names of what belongs to one expert of its own."""
Form = Literal["FP8", "MXFP4"]
"""How the files of a quantized base hold a tensor that is dequantized as it is read."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    name: str
    dtype: str
    """As safetensors writes it: F32, F16, BF16, …"""
    shape: tuple[int, ...]
    file: str
    """The shard, relative to the model's folder."""
    stored: Stored | None = None
    """How the files hold it where they hold it quantized; name, dtype and shape are what it stands for."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a quantized base.

    Attributes:
        codes, scales: the two tensors that hold it.
        grid: shape of the scales with as many dimensions as the codes have.
        block: rows and columns that share a scale.
    """

    form: Form
    codes: TensorInfo
    scales: TensorInfo
    grid: tuple[int, ...]
    block: tuple[int, int]


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
    """Its full name as on disk, without `.weight`; of an expert in a tensor of all, with its number."""
    in_features: int
    out_features: int
    tensor: str
    """The name on disk of the tensor that holds it."""
    expert: int | None = None
    """Its index in the first dimension of that tensor, where that holds a matrix of every expert."""

    @property
    def of_expert(self) -> bool:
        """Whether it is one of an expert's."""
        return self.expert is not None or ONE_EXPERT.search(self.name) is not None
