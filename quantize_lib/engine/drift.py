"""A little calibration text on its way through each cell's blocks, whose layers make up for their errors.

What it is at a layer in the base model and here tells that layer what the quantized blocks before it got
wrong (`Drift`), so that it can make up for it: in its input, and in the residual stream that it adds to. The
layers of a block are rounded on the way, each when the text comes to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from quantize_lib.engine.base_states import BaseStates
from quantize_lib.engine.block import Drift, RoundedBlock
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock
from quantize_lib.engine.drift_sums import DriftSums
from quantize_lib.engine.learned_scales import Called, distance, learn_scales
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.engine.precision import exact
from quantize_lib.engine.residual_stream import Addition, places_of
from quantize_lib.engine.side_by_side import SideBySide
from quantize_lib.engine.watch import watched_modules
from quantize_lib.sizing import batch_sizes, sequences_of
from quantize_lib.text import plain


class DriftText:
    """The text, and how far it has come in each cell.

    Args:
        ids: token ids, int64 (sequences, length): the calibration text's first.
        sizes: sequences of each batch, as the calibration's.
        cells: ids of the cells that make up for errors.
    """

    def __init__(self, ids: Tensor, sizes: list[int], cells: Collection[str]) -> None:
        self._cells = frozenset(cells)
        self._text = CarriedText(ids, sizes)
        self._carried: dict[str, Batches] = {}
        self._outputs: dict[str, list[Tensor]] = {}
        self._without_gradient: set[str] = set()
        self._device = torch.device("cpu")

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
        self._device = model.device
        self._text.embed(model, list)
        for cell in (cell for cell in alive if cell in self._cells):
            name = _state(cell)
            self._carried[cell] = hold(name, hidden.get(name, self._text.hidden))
        self._text.hidden = []

    def __contains__(self, cell: str) -> bool:
        return cell in self._carried

    def forget(self, cell: str) -> None:
        """The cell is no more."""
        self._carried.pop(cell, None)

    @property
    def sequences(self) -> int:
        """How many it has."""
        return sum(map(len, self._text.batches))

    @property
    def hidden(self) -> dict[str, Batches]:
        """Hidden states by the names under which they are kept."""
        return {_state(cell): on for cell, on in self._carried.items()}

    def round(
        self,
        cell: str,
        block: CalibratedBlock,
        part: BlockPart,
        rounding: Rounding,
        put: Callable[[RoundedBlock], None],
        release: Callable[[], None],
    ) -> list[RoundedBlock]:
        """Round layers when the cell's text comes to them.

        Args:
            part: layers of the block that are no expert's.
            put: puts rounded layers in their places in the block.
            release: lets go of freed memory.

        Returns:
            What was made, bit by bit.
        """
        pieces: list[RoundedBlock] = []

        def round_now(names: Collection[str], drift: Drift | None) -> None:
            with exact(self._device):
                piece = rounding.round(names, drift)
                put(piece)
            pieces.append(piece)

        put(RoundedBlock(layers={}, params=rounding.params))
        way = SideBySide(self._device)
        coming = _Coming(part, block.states, rounding.scales)

        def ready(name: str) -> Collection[str]:
            together = coming.together(name)
            release()
            round_now(together, coming.drift(name))
            return together

        def come(name: str, inputs: Tensor) -> None:
            coming.see(way.number, name, inputs)

        def add(name: str, state: Tensor) -> None:
            coming.streams[way.number, name] = state

        carried = self._carried[cell]
        with watched_modules(block.module, places_of(block.states.additions), add):
            self._outputs[cell] = way.run(
                len(carried), lambda number: self._forward(block, number, carried), part.linears, come, ready
            )
        # Text need not come to every layer.
        rounded = {name for piece in pieces for name in piece.layers}
        if missed := [name for name in part.linears if name not in rounded]:
            round_now(missed, None)
        return pieces

    def leave(self, cell: str, block: CalibratedBlock, *, again: bool) -> None:
        """Bring the cell's text behind its block, all layers of which are rounded.

        Args:
            again: whether more was rounded than the text has met.
        """
        carried = self._carried[cell]
        for number, output in enumerate(self._outputs.pop(cell)):
            carried[number] = self._forward(block, number, carried) if again else output

    def learn(
        self,
        cell: str,
        block: CalibratedBlock,
        part: BlockPart,
        made: RoundedBlock,
        put: Callable[[RoundedBlock], None],
    ) -> RoundedBlock:
        """Move the scales of a block's layers, so that it returns for the text what the base's block does.

        Args:
            part: all layers of the block that are rounded.
            made: of these; they are in their places.
            put: as for `round`.

        Returns:
            The block with other scales, in its place; or as it was, where these are no better.
        """
        carried, wanted = self._carried[cell], block.hidden
        assert wanted is not None, "cells make up for errors where something is calibrated"
        targets = [wanted[number] for number in range(len(carried))]
        try:
            layers = learn_scales(
                block.module,
                part.linears,
                made.layers,
                lambda called, number: self._forward(block, number, carried, called),
                targets,
            )
        except RuntimeError as error:
            if cell in self._without_gradient:
                return made
            self._without_gradient.add(cell)
            note = f"scales are not learned in this block and its like: {plain(str(error))}"
            return replace(made, notes=(*made.notes, note))
        before, learned = self._outputs[cell], replace(made, layers=layers)
        put(RoundedBlock(layers=layers))
        after = [self._forward(block, number, carried) for number in range(len(carried))]
        if _distance(after, targets) < _distance(before, targets):
            self._outputs[cell] = after
            return learned
        put(RoundedBlock(layers=made.layers))
        return made

    def _forward(
        self, block: CalibratedBlock, number: int, carried: Batches, called: Called | None = None
    ) -> Tensor:
        """A batch through the block, or through what stands for it."""
        with block.states.products(self._device):
            return self._text.forward(called or block.module, block.index, carried[number], number)


class _Coming:
    """What batches say of the inputs of a block's layers as they come to them.

    Args:
        states: the same text's in the base model.
        scales: what inputs are divided by, by layer.

    Attributes:
        streams: by number of the batch and module, what that gets of the residual stream, float32 (tokens,
            width).
    """

    def __init__(self, part: BlockPart, states: BaseStates, scales: Mapping[str, Tensor]) -> None:
        self._part = part
        self._states = states
        self._scales = scales
        # By the identity of the statistics that layers share.
        self._sums: dict[int, DriftSums] = {}
        # In how many groups of layers that share an input a module's part of the residual stream is of use.
        groups = {id(statistics): name for name, statistics in part.statistics.items()}
        self._uses = Counter(place for name in groups.values() for place in places_of(self._adding(name)))
        self._used: Counter[tuple[int, str]] = Counter()
        self.streams: dict[tuple[int, str], Tensor] = {}

    def together(self, name: str) -> list[str]:
        """The layers that share a layer's input."""
        mine = self._part.statistics[name]
        return [other for other in self._part.linears if self._part.statistics[other] is mine]

    def see(self, number: int, name: str, inputs: Tensor) -> None:
        """A batch comes to a layer. What came there in one of the models alone says nothing."""
        adding = self._adding(name)
        base = self._states.batches[number]
        original, rows = base.inputs.get(name), inputs.reshape(-1, inputs.shape[-1])
        if original is not None and len(original) == len(rows):
            missing: dict[str, Tensor] = {}
            for layer, addition in adding.items():
                theirs, ours = base.streams.get(addition.to), self.streams.get((number, addition.to))
                if theirs is not None and ours is not None and len(theirs) == len(ours) == len(rows):
                    missing[layer] = (theirs - ours).div_(addition.factor)
            self._sums_of(name, rows).add(original, rows, missing)
        done = []
        for place in places_of(adding):
            self._used[number, place] += 1
            if self._used[number, place] == self._uses[place]:
                self.streams.pop((number, place), None)
                done.append(place)
        self._states.was_read(number, self.together(name), done)

    def _adding(self, name: str) -> dict[str, Addition]:
        """Of the layers that share a layer's input those that add to the residual stream, and how."""
        additions = self._states.additions
        return {layer: additions[layer] for layer in self.together(name) if layer in additions}

    def _sums_of(self, name: str, rows: Tensor) -> DriftSums:
        key = id(self._part.statistics[name])
        if key not in self._sums:
            outputs = {layer: self._part.linears[layer].shape[0] for layer in self._adding(name)}
            self._sums[key] = DriftSums(rows.shape[1], self._scales.get(name), outputs, rows.device)
        return self._sums[key]

    def drift(self, name: str) -> Drift | None:
        """What all batches said of a layer's input."""
        sums = self._sums.pop(id(self._part.statistics[name]), None)
        return None if sums is None else sums.finish()


def drift_texts(calibration: Tensor, tokens: Mapping[str, int], batch: int) -> list[DriftText]:
    """One text for all cells that see their errors on the same number of tokens.

    Args:
        calibration: token ids, int64 (samples, length), the first of which are taken.
        tokens: about how many of them each cell gets, by id; 0 for none.
        batch: sequences that go through a block at once.
    """
    by_count: dict[int, list[str]] = {}
    for cell, wanted in tokens.items():
        if wanted:
            count = min(len(calibration), sequences_of(wanted, calibration.shape[1]))
            by_count.setdefault(count, []).append(cell)
    return [
        DriftText(calibration[:count], batch_sizes(count, batch, by_count), cells)
        for count, cells in by_count.items()
    ]


def _distance(returned: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    return sum(float(distance(*both)) for both in zip(returned, wanted, strict=True))


def _state(cell: str) -> str:
    """Under which name a cell's hidden states are kept."""
    return f"drift/{cell}"
