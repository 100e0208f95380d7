"""What a pass is asked to do for each cell, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from quantize_lib.engine.pass_state import CellOutcome
from quantize_lib.formats import Format
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Method, Settings


class TensorSink(Protocol):
    """Where a cell's finished tensors go."""

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Append tensors by full name."""

    def discard(self) -> None:
        """Remove what was written: the cell failed."""


@dataclass(frozen=True, kw_only=True)
class CellWork:
    """One cell of the pass.

    Attributes:
        method: what it is rounded by.
        format: how it is stored.
        layers: full name of each linear layer to quantize → (bits, group size).
        types: of each tensor that the format stores in a type of its own, by its name; see `Format.types`.
    """

    id: str
    settings: Settings
    method: Method
    format: Format
    layers: Mapping[str, tuple[int, int]]
    sink: TensorSink
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """What the format asks of the codes."""
        return self.format.grid(self.method, self.settings)


@dataclass(frozen=True, kw_only=True)
class PassOutcome:
    """What one pass gives.

    Attributes:
        cells: by cell id.
        base_tokens: as a cell's `tokens`, of the full-precision model; without the metrics that compare with
            it.
        base_logits: float32 (sample, length, vocabulary) of the first held-out sequences.
        shared_seconds: wall time that no single cell caused.
    """

    cells: Mapping[str, CellOutcome]
    base_tokens: Mapping[str, Tensor]
    base_logits: Tensor | None
    shared_seconds: float
