"""The calibration text's way through the full-precision blocks, a block ahead of rounding where that pays."""

from __future__ import annotations

import copy
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pickle import PickleError
from typing import Protocol

import torch
from torch import Tensor, nn

from quantize_lib.architecture.language_model import MAX_SIZE
from quantize_lib.engine.base_states import BaseStates
from quantize_lib.engine.block import Fold, Statistics
from quantize_lib.engine.carried import hidden_of, is_plain, widened
from quantize_lib.engine.expert_statistics import ExpertStatistics, ExpertTally, RoutedSums
from quantize_lib.engine.experts import FusedExperts
from quantize_lib.engine.finite import is_finite
from quantize_lib.engine.folds import find_folds
from quantize_lib.engine.linears import Linear, find_linears
from quantize_lib.engine.methods.threads import start_thread
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText, FoldKey, Hold
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.engine.sums import BlockSums
from quantize_lib.errors import EngineError
from quantize_lib.sizing import PROOF_TOKENS, batch_size, batch_sizes

_HEAD_DIMS = ("v_head_dim", "head_dim", "head_size")
"""How modules of attention call the channels of a head's values."""


class GivenSums(Protocol):
    """Sums of the calibration text that were made before, elsewhere."""

    def of_block(self, prefix: str, linears: Mapping[str, Linear]) -> BlockSums:
        """Those of a block.

        Args:
            prefix: its full name.
            linears: the layers that are needed, by relative name.

        Raises:
            CalibrationError: where they are not there, or cannot be what they should be.
        """


@dataclass(frozen=True, kw_only=True)
class BlockPart:
    """Layers of a block that are quantized in one go: those of one expert, or all that are of none.

    Attributes:
        linears: by relative name, in the model's order.
        statistics: of their inputs; empty where nothing is calibrated.
        tally: of the expert whose layers they are, where it is calibrated.
    """

    linears: Mapping[str, Linear]
    statistics: Mapping[str, Statistics]
    tally: ExpertTally | None = None


@dataclass(frozen=True, kw_only=True)
class CalibratedBlock:
    """A block in full precision, and what the calibration text says of it.

    Attributes:
        module: the block, on the device in the compute dtype.
        linears: its layers that some cell quantizes, by relative name.
        names: of these layers, as cells and checkpoints have them.
        statistics: of the inputs of those that are modules; empty where nothing is calibrated.
        experts: what those of experts are made of when their turn comes; likewise.
        folds: where scales of their inputs can be undone; empty where no cell asks.
        proven: the folds of every structure so far.
        hidden: the calibration text's hidden states after the block; None where nothing is calibrated.
        states: of the text by which cells make up for errors.
    """

    index: int
    module: nn.Module
    linears: Mapping[str, Linear]
    names: Mapping[str, str]
    statistics: Mapping[str, Statistics]
    experts: Mapping[FusedExperts, ExpertStatistics]
    folds: tuple[Fold, ...]
    proven: Mapping[FoldKey, tuple[Fold, ...]]
    hidden: Batches | None
    states: BaseStates

    def twin(self) -> CalibratedBlock | None:
        """The same block with modules of its own: each can have others in the place of the same tensors.

        None where it can have no twin: tensors of all experts are changed in place, and not every class can
        be copied.
        """
        if any(linear.experts is not None for linear in self.linears.values()):
            return None
        tensors = {id(one): one for one in (*self.module.parameters(), *self.module.buffers())}
        try:
            module = copy.deepcopy(self.module, tensors)
        except (TypeError, ValueError, AttributeError, RuntimeError, PickleError):
            return None
        linears = {name: one for name, one in find_linears(module).items() if name in self.linears}
        return replace(self, module=module, linears=linears)

    def parts(self, wanted: Collection[str]) -> Iterator[BlockPart]:
        """The block bit by bit: first the layers that are no expert's, then expert after expert.

        Args:
            wanted: the layers to be quantized, as cells have them.
        """
        by_owner: dict[str | None, dict[str, Linear]] = {None: {}}
        for name, linear in self.linears.items():
            if self.names[name] in wanted:
                by_owner.setdefault(linear.owner, {})[name] = linear
        for owner, linears in by_owner.items():
            statistics = self._statistics_of(linears)
            tally = None
            if owner is not None and statistics:
                full = self.names[next(iter(linears))].rpartition(".")[0]
                tally = ExpertTally.of(full, statistics.values())
            yield BlockPart(linears=linears, statistics=statistics, tally=tally)

    def _statistics_of(self, linears: Mapping[str, Linear]) -> Mapping[str, Statistics]:
        first = next(iter(linears.values()), None)
        if first is None or first.experts is None:
            return {name: self.statistics[name] for name in linears if name in self.statistics}
        known = self.experts.get(first.experts)
        if known is None:
            return {}
        by_part = known.of(first.expert)
        return {name: by_part[linear.part] for name, linear in linears.items()}


class Calibrator:
    """Reads the blocks in order and takes the calibration text through them.

    Args:
        ids: token ids, int64 (samples, length); None where no cell needs statistics.
        layers: full names of the linear layers that some cell quantizes.
        folding: whether some cell asks for folds, which are chosen by mean |x|, too.
        given: sums of the text, of which then only what cells see their errors on goes through the blocks.
        seen: of each text on which cells see their errors, how many of the first sequences it is.
        seen_once: whether that is one cell alone.
    """

    def __init__(
        self,
        model: StreamedModel,
        ids: Tensor | None,
        *,
        layers: Collection[str],
        folding: bool,
        given: GivenSums | None = None,
        seen: Collection[int] = (),
        seen_once: bool = False,
    ) -> None:
        self._model = model
        self._layers = layers
        self._given = given
        self._folding = folding
        self._proven: Mapping[FoldKey, tuple[Fold, ...]] = {}
        # How many of the first batches are seen, and which of the blocks' modules get the residual stream.
        self._seen = 0
        self._seen_once = seen_once
        self._streams: set[str] = set()
        self._text: CarriedText | None = None
        self._proof: CarriedText | None = None
        if ids is not None:
            if folding:
                # The first tokens of the text: none sees a later one, so their hidden states are its own.
                self._proof = CarriedText(ids[:1, :PROOF_TOKENS], 1)
            most, size = max(seen, default=0), batch_size(model.device.type, ids.shape[1])
            wanted = len(ids) if given is None else most
            self._seen = len(batch_sizes(most, size, seen))
            # With sums at hand only what is seen, and what folds are proven on, goes on.
            self._text = CarriedText(ids[:wanted], batch_sizes(wanted, size, seen)) if wanted else self._proof

    def begin(
        self,
        hold: Hold,
        hidden: Batches | None = None,
        proven: Mapping[FoldKey, tuple[Fold, ...]] | None = None,
    ) -> None:
        """Bring the text to the first block that is to be done. Only inside the model's `outer`.

        Args:
            hold: gives hidden states their place.
            hidden, proven: as an earlier process left them; None from the first block on.
        """
        self._proven = proven or {}
        if self._text is not None:
            self._text.embed(self._model, hold, hidden)
        if self._proof is not None and self._proof is not self._text:
            self._proof.embed(self._model, list)

    def blocks(self, start: int, *, ahead: bool) -> Generator[CalibratedBlock]:
        """The blocks from `start` on.

        Args:
            ahead: take the text through the next block, on a thread of its own, while the caller works with
                this one. Then two blocks, their statistics and the text's states around both are in memory.

        Raises:
            SourceError: where the base model cannot be read.
            EngineError: for values that are not finite.
        """
        if not ahead or start == len(self._model):
            for index in range(start, len(self._model)):
                yield self._block(index, replace=True)
            return
        with ThreadPoolExecutor(
            1, "calibration", initializer=start_thread, initargs=(torch.get_num_threads(),)
        ) as pool:
            coming = pool.submit(self._block, start, replace=False)
            for index in range(start + 1, len(self._model)):
                made = coming.result()
                coming = pool.submit(self._block, index, replace=False)
                yield made
            yield coming.result()

    @torch.inference_mode()
    def collect(self, index: int) -> BlockSums:
        """The text through a block, for the sums of its layers alone. It is there.

        Raises:
            As `blocks`.
        """
        assert self._text is not None
        module = self._model.load_block(index)
        linears = self._linears(index, module)
        states = BaseStates(module, linears, 0, set())
        return self._forward(self._text, module, index, linears, states, loudness=True)

    @property
    def hidden(self) -> Batches:
        """The text's hidden states at the block that is next."""
        assert self._text is not None
        return self._text.hidden

    def forget(self) -> None:
        """Let go of the text; there are no further blocks."""
        self._text = None

    @torch.inference_mode()
    def _block(self, index: int, *, replace: bool) -> CalibratedBlock:
        """One block.

        Args:
            replace: put each batch's states in the place of those before the block.
        """
        module = self._model.load_block(index)
        linears = self._linears(index, module)
        sums: BlockSums | None = None
        statistics: Mapping[str, Statistics] = {}
        experts: Mapping[FusedExperts, ExpertStatistics] = {}
        folds: tuple[Fold, ...] = ()
        text, first = self._text, None
        states = BaseStates(module, linears, self._seen, self._streams, once=self._seen_once)
        if text is not None:
            if not replace:
                # Those before the block are still to be kept as the pass's state.
                text.hidden = list(text.hidden)
            first = self._first(text)
            wanted = linears if self._given is None else {}
            sums = self._forward(text, module, index, wanted, states, loudness=self._folding)
        if self._given is not None:
            sums = self._given.of_block(self._model.prefix(index), linears)
        if sums is not None and linears:
            statistics = sums.layers.finish()
            experts = {one.experts: ExpertStatistics(one) for one in sums.experts.values()}
            if first is not None:
                folds = self._prove(module, index, linears, sums.layers.groups(), *first)
        return CalibratedBlock(
            index=index,
            module=module,
            linears=linears,
            names=self._names(index, module),
            statistics=statistics,
            experts=experts,
            folds=folds,
            proven=self._proven,
            hidden=None if text is None else text.hidden,
            states=states,
        )

    def _names(self, index: int, module: nn.Module) -> Mapping[str, str]:
        """A block's linear layers as cells and checkpoints have them, by relative name."""
        prefix = self._model.prefix(index)
        return {name: f"{prefix}.{name}" for name in find_linears(module)} | self._model.layer_names(index)

    def _linears(self, index: int, module: nn.Module) -> Mapping[str, Linear]:
        """Those of a block's linear layers that some cell quantizes, by relative name."""
        names = self._names(index, module)
        return {name: linear for name, linear in find_linears(module).items() if names[name] in self._layers}

    def _forward(
        self,
        text: CarriedText,
        module: nn.Module,
        index: int,
        linears: Mapping[str, Linear],
        states: BaseStates,
        *,
        loudness: bool,
    ) -> BlockSums:
        """The one forward of the calibration text through the full-precision block."""
        collector = StatisticsCollector(linears, loudness=loudness)
        number = 0
        while number < len(text.hidden):
            forward = partial(text.forward, module, index, text.hidden[number], number)
            try:
                with states.products(self._model.device):
                    with collector.collecting(), states.watching():
                        output = forward()
                    states.complete(forward)
            except RuntimeError:
                if number or states.exact:
                    raise
                # Some classes add up values of one type alone; nothing is kept of the batch so far.
                states.exact, collector = True, StatisticsCollector(linears, loudness=loudness)
                continue
            if not is_finite(hidden_of(output)):
                raise EngineError(
                    f"{self._model.prefix(index)} gives NaN or Inf for the calibration text",
                    hint="The base model is damaged, or its activations do not fit the compute dtype.",
                )
            text.hidden[number] = output
            number += 1
        experts = {routed.name: RoutedSums(routed) for routed in collector.routed.values()}
        return BlockSums(layers=collector, experts=experts)

    def _first(self, text: CarriedText) -> tuple[CarriedText, Tensor]:
        """What folds are proven on: some text, and what it carries to the block."""
        carried, proof = text.hidden[0], self._proof
        if proof is not None and is_plain(carried):
            first = carried[:1, :PROOF_TOKENS]
            if first.shape == proof.hidden[0].shape:
                return proof, first.clone()
        # It is not laid out by sequence and token: the batch as a whole. Folds are proven in float32.
        return text, widened(carried)

    def _prove(
        self,
        module: nn.Module,
        index: int,
        linears: Mapping[str, Linear],
        groups: list[tuple[str, ...]],
        proof: CarriedText,
        first: Tensor,
    ) -> tuple[Fold, ...]:
        """The folds of the block. Blocks of one structure fold alike; each is proven once."""
        if self._proof is None:
            return ()
        key = tuple((name, linear.shape) for name, linear in linears.items())
        if key not in self._proven:
            folds = find_folds(
                module,
                linears,
                groups,
                lambda changed: hidden_of(proof.forward(changed, index, first)),
                head_dim=_head_dim(module),
            )
            # A new mapping: the one before may be written down meanwhile.
            self._proven = {**self._proven, key: folds}
        return self._proven[key]


def _head_dim(block: nn.Module) -> int:
    """How many channels of the values belong together, as the block's own modules say it."""
    found = (getattr(module, word, None) for word in _HEAD_DIMS for module in block.modules())
    # Without heads nothing is repeated: a head as wide as no layer is.
    return next((value for value in found if isinstance(value, int) and value > 0), MAX_SIZE)
