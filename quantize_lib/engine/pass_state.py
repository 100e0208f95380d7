"""What a pass has so far: all that it needs to go on after any block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from quantize_lib.engine.block import Fold
from quantize_lib.engine.model import BlockCall, StreamedModel
from quantize_lib.errors import QuantizerError

FoldKey = tuple[tuple[str, tuple[int, ...]], ...]
"""The structure of a block: its linear layers' names and shapes (out, in)."""


@dataclass(kw_only=True)
class CellOutcome:
    """What the pass says of one cell.

    Attributes:
        error: why the cell failed; everything else is then incomplete.
        seconds: the cell's own work: rounding, writing, carrying held-out text.
        nll: negative log-likelihood per held-out token, nats, float32 (sequences, length - 1).
        kl: KL(base ‖ quantized) of the next-token distributions, nats, float32 (sequences, length - 1).
        errors: relative output error per linear layer, by full name.
    """

    error: QuantizerError | None = None
    seconds: float = 0.0
    nll: Tensor | None = None
    kl: Tensor | None = None
    errors: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PassState:
    """A pass between two blocks.

    Attributes:
        blocks: how many are finished.
        seconds: wall time so far, of every process that worked on it.
        cells: by cell id; `nll` and `kl` come after the last block and are no part of it.
        folds: by structure. They are proven on the first block of each: another block's proof might differ.
        hidden: the texts' hidden states after the finished blocks, by batch, each (sequences, length,
            hidden) in the compute dtype: `calibration`, `evaluation` and `cell/ID` for each cell.
    """

    blocks: int
    seconds: float
    cells: Mapping[str, CellOutcome]
    folds: Mapping[FoldKey, tuple[Fold, ...]]
    hidden: Mapping[str, Sequence[Tensor]]


class PassStore(Protocol):
    """Keeps a pass's state where a later process finds it."""

    def load(self) -> PassState | None:
        """What an earlier process left; the cells' sinks stand where it says."""

    def commit(self, state: PassState) -> None:
        """Keep a state in place of the one before; after a crash at any moment it is one of the two."""


class CarriedText:
    """Token ids with the hidden states that have come through the blocks so far."""

    def __init__(self, ids: Tensor, size: int) -> None:
        """Batches of `size` sequences."""
        self.batches = list(ids.split(size))
        self.hidden: list[Tensor] = []
        self._calls: dict[int, list[BlockCall]] = {}

    def embed(self, model: StreamedModel, hidden: Sequence[Tensor] | None = None) -> None:
        """Learn what blocks are called with, and the first block's inputs.

        Args:
            hidden: states from further on, which take their place.
        """
        for ids in self.batches:
            # Masks and positions are alike for batches of one size.
            if hidden is None or ids.shape[0] not in self._calls:
                states, calls = model.embed(ids)
                self._calls.setdefault(ids.shape[0], calls)
                if hidden is None:
                    self.hidden.append(states)
        if hidden is not None:
            self.hidden = [states.to(model.device) for states in hidden]

    def forward(self, block: nn.Module, index: int, hidden: Tensor) -> Tensor:
        """A batch through block `index`."""
        return self._calls[hidden.shape[0]][index](block, hidden)

    def advance(self, block: nn.Module, index: int, hidden: list[Tensor]) -> None:
        """All batches through the block, each replacing its input."""
        for number, states in enumerate(hidden):
            hidden[number] = self.forward(block, index, states)
