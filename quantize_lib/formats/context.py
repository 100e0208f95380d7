"""What a format is told of what it stores, layer, block and checkpoint, and why it cannot hold a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from quantize_lib.formats.rounded import Grid
from quantize_lib.formats.traits import Traits
from quantize_lib.methods import Method, Settings


class Layer(Protocol):
    """A linear layer of a decoder block (`architecture.tensors.LayerInfo`)."""

    @property
    def name(self) -> str:
        """In full."""

    @property
    def in_features(self) -> int:
        """Inputs."""

    @property
    def out_features(self) -> int:
        """Outputs."""

    @property
    def of_expert(self) -> bool:
        """Whether it is one of an expert's."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why a layer cannot be packed.

    Attributes:
        side: `input` or `output`.
        size: of that side.
        reason: what the format needs.
    """

    side: str
    size: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """What a loader may want to find in a block beside its linear layers.

    Attributes:
        model_type: `config.json`'s.
        widths: outputs by relative module name, of linear layers and of modules whose weight is a vector.
    """

    model_type: str
    widths: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckpointContext:
    """What a format must know of a whole checkpoint to write `quantization_config`.

    Attributes:
        method: that rounded it.
        settings: as the manifest says.
        grid: of its codes.
        group_size: resolved; -1 for one group per row.
        blocks: full name of the list of decoder blocks in memory (`model.layers`).
        quantized: each quantized linear layer by the name that it is written under → (bits, group size).
        kept: full names of the linear layers in the blocks that stay in full precision, in memory and, where
            they have another one there, on disk.
        outside: full names of linear layers outside the blocks (`lm_head`), never quantized.
        dtype: of unquantized tensors on disk, as PyTorch calls it (`bfloat16`).
        traits: of the model.
        modules: names in memory of the quantized layers that are written under another one.
        experts: those of the quantized layers that are an expert's.
        model: the base model's name.
        types: as `Format.types`, by the name under which a tensor is written.
    """

    method: Method
    settings: Settings
    grid: Grid
    group_size: int
    blocks: str
    quantized: Mapping[str, tuple[int, int]]
    kept: tuple[str, ...]
    outside: tuple[str, ...]
    dtype: str
    traits: Traits = field(default_factory=lambda: Traits(model_type=""))
    modules: Mapping[str, str] = field(default_factory=dict)
    experts: frozenset[str] = frozenset()
    model: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
