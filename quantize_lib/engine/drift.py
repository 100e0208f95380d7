"""A little calibration text on two ways at once: through the base model's blocks, and through each cell's.

What it is at a layer on both ways tells that layer what the quantized blocks before it got wrong
(`Drift`), so that it can make up for it. The layers of a block are rounded on the way, each when the text
comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Drift, RoundedBlock
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.sizing import sequences_of


class DriftText:
    """The text, and how far it has come in the base model and in each cell.

    Args:
        ids: token ids, int64 (sequences, length).
        cells: ids of the cells that make up for errors.
    """

    def __init__(self, ids: Tensor, cells: Collection[str]) -> None:
        self._cells = frozenset(cells)
        self._text = CarriedText(ids, len(ids))
        self._base = f"drift-{len(ids)}"
        self._carried: dict[str, Batches] = {}
        # By the identity of the statistics that layers share.
        self._inputs: dict[int, Tensor] = {}
        self._after = torch.empty(0)

    def begin(
        self,
        model: StreamedModel,
        hold: Callable[[str, Iterable[Tensor]], Batches],
        hidden: Mapping[str, Batches],
        alive: Iterable[str],
    ) -> None:
        """Bring the text to the first block that is to be done. Only inside the model's `outer`.

        Args:
            hold: gives hidden states their place.
            hidden: as an earlier process left them.
            alive: the cells that did not fail there.
        """
        self._text.embed(model, partial(hold, self._base), hidden.get(self._base))
        for cell in (cell for cell in alive if cell in self._cells):
            name = _state(cell)
            self._carried[cell] = hold(name, hidden.get(name, self._text.hidden))

    def __contains__(self, cell: str) -> bool:
        return cell in self._carried

    def forget(self, cell: str) -> None:
        """The cell is no more."""
        self._carried.pop(cell, None)

    @property
    def hidden(self) -> dict[str, Batches]:
        """Hidden states by the names under which they are kept."""
        return {self._base: self._text.hidden} | {_state(cell): on for cell, on in self._carried.items()}

    def enter(self, block: CalibratedBlock) -> None:
        """Take the text through the base model's block, and note what its layers get."""
        self._inputs = {}
        if not self._carried:
            return

        def note(name: str, inputs: Tensor) -> None:
            self._inputs.setdefault(id(block.statistics[name]), rows_of(inputs).clone())

        dense = {name: linear for name, linear in block.linears.items() if linear.owner is None}
        with watched(dense, note):
            self._text.advance(block.module, block.index, self._text.hidden)

    def round(
        self,
        cell: str,
        block: CalibratedBlock,
        part: BlockPart,
        rounding: Rounding,
        put: Callable[[RoundedBlock], None],
    ) -> list[RoundedBlock]:
        """Round layers when the cell's text comes to them.

        Args:
            part: layers of the block that are no expert's.
            put: puts rounded layers in their places in the block.

        Returns:
            What was made, bit by bit.
        """
        linears, statistics = part.linears, part.statistics
        pieces: list[RoundedBlock] = []
        done: set[str] = set()

        def round_now(names: Collection[str], drift: Drift | None) -> None:
            piece = rounding.round(names, drift)
            done.update(names)
            pieces.append(piece)
            put(piece)

        def come(name: str, inputs: Tensor) -> None:
            if name not in done:
                mine = statistics[name]
                together = [other for other in linears if statistics[other] is mine]
                round_now(together, self._drift(id(mine), rows_of(inputs)))

        put(RoundedBlock(layers={}, params=rounding.params))
        with watched(linears, come):
            self._after = self._text.forward(block.module, block.index, self._carried[cell][0])
        # Text need not come to every layer.
        if missed := [name for name in linears if name not in done]:
            round_now(missed, None)
        return pieces

    def leave(self, cell: str, block: CalibratedBlock, *, again: bool) -> None:
        """Bring the cell's text behind its block, all layers of which are rounded.

        Args:
            again: whether more was rounded than the text has met.
        """
        carried = self._carried[cell]
        carried[0] = self._text.forward(block.module, block.index, carried[0]) if again else self._after

    def _drift(self, key: int, carried: Tensor) -> Drift | None:
        original = self._inputs.get(key)
        if original is None or original.shape != carried.shape:
            return None
        return Drift(original=original, carried=carried)


def drift_texts(calibration: Tensor | None, tokens: Mapping[str, int]) -> list[DriftText]:
    """One text for all cells that see their errors on the same number of tokens.

    Args:
        calibration: token ids, int64 (samples, length), the first of which are taken.
        tokens: about how many of them each cell gets, by id; 0 for none.
    """
    if calibration is None:
        return []
    by_count: dict[int, list[str]] = {}
    for cell, wanted in tokens.items():
        if wanted:
            count = min(len(calibration), sequences_of(wanted, calibration.shape[1]))
            by_count.setdefault(count, []).append(cell)
    return [DriftText(calibration[:count], cells) for count, cells in by_count.items()]


def _state(cell: str) -> str:
    """Under which name a cell's hidden states are kept."""
    return f"drift/{cell}"


def rows_of(inputs: Tensor) -> Tensor:
    """A layer's input by token: float32 (tokens, in)."""
    return inputs.reshape(-1, inputs.shape[-1]).float()


@contextmanager
def watched(linears: Mapping[str, Linear], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside this context every call of these layers is seen before they compute."""

    def before(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            see(name, args[0])

        return hook

    handles = [linear.module.register_forward_pre_hook(before(name)) for name, linear in linears.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
