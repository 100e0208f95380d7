"""A little calibration text on two ways at once: through the base model's blocks, and through each cell's.

What it is at a layer on both ways tells that layer what the quantized blocks before it got wrong
(`Drift`), so that it can make up for it: in its input, and in the residual stream that it adds to. The layers
of a block are rounded on the way, each when the text comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift, RoundedBlock
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.engine.precision import calibrating, exact
from quantize_lib.engine.residual_stream import added_to
from quantize_lib.engine.watch import inputs_of, watched
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
        # By layer of the block that adds to the residual stream, the module whose input that is; by such a
        # module its input; and such modules of all blocks so far.
        self._places: dict[str, str] = {}
        self._streams: dict[str, Tensor] = {}
        self._known: set[str] = set()
        self._after = torch.empty(0)
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
        """Take the text through the base model's block, and note what its layers get and add to."""
        self._inputs, self._streams = {}, {}
        if not self._carried:
            return

        def note(name: str, inputs: Tensor) -> None:
            if (key := id(block.statistics[name])) not in self._inputs:
                self._inputs[key] = _kept(inputs, copy=True)

        dense = {name: linear for name, linear in block.linears.items() if linear.owner is None}
        while True:
            with (
                watched(dense, note),
                inputs_of(block.module, self._known) as streams,
                added_to(block.module, dense) as self._places,
            ):
                after = self._forward(block, self._text.hidden[0])
            places = set(self._places.values())
            if places <= self._known:
                break
            # Most blocks are like one before: the text goes through the first of a kind twice.
            self._known |= places
        self._streams = {place: streams[place] for place in places}
        self._text.hidden[0] = after

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
            with exact(self._device):
                piece = rounding.round(names, drift)
                put(piece)
            done.update(names)
            pieces.append(piece)

        def come(name: str, inputs: Tensor) -> None:
            if name not in done:
                mine = statistics[name]
                together = [other for other in linears if statistics[other] is mine]
                round_now(together, self._drift(together, id(mine), _kept(inputs), streams))

        put(RoundedBlock(layers={}, params=rounding.params))
        with inputs_of(block.module, set(self._streams)) as streams, watched(linears, come):
            self._after = self._forward(block, self._carried[cell][0])
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
        carried[0] = self._forward(block, carried[0]) if again else self._after

    def _forward(self, block: CalibratedBlock, hidden: Tensor) -> Tensor:
        with calibrating(self._device):
            return self._text.forward(block.module, block.index, hidden)

    def _drift(
        self, layers: Collection[str], key: int, carried: Tensor, streams: Mapping[str, Tensor]
    ) -> Drift | None:
        """What layers that share an input make up for.

        Args:
            key: of the input.
            streams: by module, its input in the quantized model.
        """
        original = self._inputs.get(key)
        if original is None or original.shape != carried.shape:
            return None
        missing = {
            layer: self._streams[place] - streams[place]
            for layer, place in self._places.items()
            if layer in layers and len(streams.get(place, ())) == len(carried)
        }
        return Drift(original=original, carried=carried, missing=missing)


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


def _kept(inputs: Tensor, *, copy: bool = False) -> Tensor:
    """A layer's input by token, bfloat16 (tokens, in): quantization changes it many times as much.

    Args:
        copy: also where it is in bfloat16.
    """
    return inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16, copy=copy)
