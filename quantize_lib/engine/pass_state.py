"""What a pass has so far: all that it needs to go on after any block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Fold
from quantize_lib.engine.expert_statistics import ExpertTally
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.walk import Calls
from quantize_lib.errors import QuantizerError

FoldKey = tuple[tuple[str, tuple[int, ...]], ...]
"""The structure of a block: its linear layers' names and shapes (out, in)."""


class Batches(Iterable[Tensor], Protocol):
    """A text's hidden states by batch, on any device: a list, or a place on disk.

    A pass reads each batch and then replaces it, once per block.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Tensor: ...

    def __setitem__(self, number: int, states: Tensor, /) -> None: ...


@dataclass(kw_only=True)
class CellOutcome:
    """What the pass says of one cell.

    Attributes:
        error: why the cell failed; everything else is then incomplete.
        seconds: the cell's own work: rounding, writing, carrying held-out text.
        tokens: what each metric accumulates per held-out token, by its name, float32 (sequences,
            length - 1).
        errors: relative output error per linear layer, by full name.
        experts: of a mixture's calibrated cell.
        unscaled: of a method that scales inputs, the layers for which it found no place to undo that.
    """

    error: QuantizerError | None = None
    seconds: float = 0.0
    tokens: dict[str, Tensor] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    experts: ExpertTally | None = None
    unscaled: int = 0

    def in_common(self, layers: int) -> list[str]:
        """Notes on all of the cell's layers, of which there are so many."""
        notes = [] if self.experts is None else [self.experts.sentence()]
        if self.unscaled:
            notes.append(
                f"the inputs of {self.unscaled} of {layers} layers are not scaled: there is no place in "
                "front of them where that could be undone"
            )
        return notes


@dataclass(frozen=True, kw_only=True)
class PassState:
    """A pass between two blocks.

    Attributes:
        blocks: how many are finished.
        seconds: wall time so far, of every process that worked on it.
        cells: by cell id; `tokens` come after the last block and are no part of it.
        folds: by structure. They are proven on the first block of each: another block's proof might differ.
        hidden: the texts' hidden states after the finished blocks, by batch, each (sequences, length,
            hidden) in the compute dtype: `calibration`, `evaluation` and `cell/ID` for each cell; `drift/ID`
            of the text by which one makes up for errors.
    """

    blocks: int
    seconds: float
    cells: Mapping[str, CellOutcome]
    folds: Mapping[FoldKey, tuple[Fold, ...]]
    hidden: Mapping[str, Batches]


Hold = Callable[[Iterable[Tensor]], Batches]
"""Gives hidden states their place: in memory (`list`), or where the store has them."""


class PassStore(Protocol):
    """Keeps a pass's state where a later process finds it."""

    def hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        """Where a text's hidden states are from now on; `batches` is taken one after the other."""

    def load(self) -> PassState | None:
        """What an earlier process left; the cells' sinks stand where it says."""

    def commit(self, state: PassState) -> None:
        """Keep a state in place of the one before; after a crash at any moment it is one of the two."""


class CarriedText:
    """Token ids with the hidden states that have come through the blocks so far."""

    def __init__(self, ids: Tensor, size: int | list[int]) -> None:
        """Batches of `size` sequences, or of as many as it says for each."""
        self.batches = list(ids.split(size))
        self.hidden: Batches = []
        self._calls: list[Calls] = []
        self._device = torch.device("cpu")

    def embed(self, model: StreamedModel, hold: Hold, hidden: Batches | None = None) -> None:
        """Learn what blocks are called with, and the first block's inputs.

        Args:
            hold: gives hidden states their place.
            hidden: states from further on, which take the place of the first block's inputs.
        """
        self._device = model.device
        self._calls = []
        if hidden is None:
            self.hidden = hold(self._embedded(model))
            return
        for _ in self._embedded(model):
            # Only the calls are wanted.
            pass
        self.hidden = hold(hidden)

    def embedded(self, model: StreamedModel) -> Iterator[Tensor]:
        """The first block's inputs by batch, as the model's embedding gives them now."""
        for ids in self.batches:
            yield model.embed(ids)[0]

    def _embedded(self, model: StreamedModel) -> Iterator[Tensor]:
        first: dict[int, Calls] = {}
        for ids in self.batches:
            states, calls = model.embed(ids)
            # Masks and positions are alike for batches of one size; what depends on the tokens is not.
            self._calls.append(calls.like(first.setdefault(ids.shape[0], calls)))
            yield states

    def forward(self, block: Callable[..., Any], index: int, hidden: Tensor, number: int = 0) -> Tensor:
        """What batch `number` carries, through block `index`, or through what stands for it."""
        return self._calls[number][index](block, hidden.to(self._device))

    def advance(self, block: nn.Module, index: int, hidden: Batches) -> None:
        """All batches through the block, each replacing its input."""
        for number in range(len(hidden)):
            hidden[number] = self.forward(block, index, hidden[number], number)
