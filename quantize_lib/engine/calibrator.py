"""The calibration text's way through the full-precision blocks, a block ahead of rounding where that pays."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Fold, Statistics
from quantize_lib.engine.folds import find_folds, weight_view
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText, FoldKey, Hold
from quantize_lib.engine.precision import calibrating
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.errors import EngineError
from quantize_lib.sizing import TOKENS_PER_BATCH

_PROOF_TOKENS = 128
"""Tokens that folds are proven on: each candidate takes a forward, and a wrong one changes every token."""


@dataclass(frozen=True, kw_only=True)
class CalibratedBlock:
    """A block in full precision, and what the calibration text says of it.

    Attributes:
        module: the block, on the device in the compute dtype.
        linears: its layers that some cell quantizes, by relative name.
        statistics: of their inputs; empty where nothing is calibrated.
        folds: where scales of their inputs can be undone; empty where no cell asks.
        proven: the folds of every structure so far.
        hidden: the calibration text's hidden states after the block; None where nothing is calibrated.
    """

    index: int
    module: nn.Module
    linears: Mapping[str, nn.Module]
    statistics: Mapping[str, Statistics]
    folds: tuple[Fold, ...]
    proven: Mapping[FoldKey, tuple[Fold, ...]]
    hidden: Batches | None


class Calibrator:
    """Reads the blocks in order and takes the calibration text through them.

    Args:
        ids: token ids, int64 (samples, length); None where no cell needs statistics.
        layers: full names of the linear layers that some cell quantizes.
        folding: whether some cell asks for folds.
    """

    def __init__(
        self, model: StreamedModel, ids: Tensor | None, *, layers: Collection[str], folding: bool
    ) -> None:
        self._model = model
        self._layers = layers
        self._proven: Mapping[FoldKey, tuple[Fold, ...]] = {}
        self._text: CarriedText | None = None
        self._proof: CarriedText | None = None
        if ids is not None:
            tokens = TOKENS_PER_BATCH[model.device.type]
            self._text = CarriedText(ids, max(1, tokens // ids.shape[1]))
            if folding:
                # The first tokens of the text: none sees a later one, so their hidden states are its own.
                self._proof = CarriedText(ids[:1, :_PROOF_TOKENS], 1)

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
        if self._proof is not None:
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
        # The number of threads is each thread's own; a new one has that of whoever asked for one last.
        with ThreadPoolExecutor(
            1, "calibration", initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
        ) as pool:
            coming = pool.submit(self._block, start, replace=False)
            for index in range(start + 1, len(self._model)):
                made = coming.result()
                coming = pool.submit(self._block, index, replace=False)
                yield made
            yield coming.result()

    def forget(self) -> None:
        """Let go of the text; there are no further blocks."""
        self._text = None

    @torch.inference_mode()
    def _block(self, index: int, *, replace: bool) -> CalibratedBlock:
        """One block.

        Args:
            replace: put each batch's states in the place of those before the block.
        """
        prefix = self._model.prefix(index)
        module = self._model.load_block(index)
        linears = {
            name: layer for name, layer in module.named_modules() if f"{prefix}.{name}" in self._layers
        }
        statistics: Mapping[str, Statistics] = {}
        folds: tuple[Fold, ...] = ()
        text = self._text
        if text is not None:
            if not replace:
                # Those before the block are still to be kept as the pass's state.
                text.hidden = list(text.hidden)
            first = text.hidden[0][:1, :_PROOF_TOKENS].clone()
            collector = self._forward(text, module, index, linears)
            if linears:
                statistics = collector.finish()
                folds = self._prove(module, index, linears, collector.groups(), first)
        return CalibratedBlock(
            index=index,
            module=module,
            linears=linears,
            statistics=statistics,
            folds=folds,
            proven=self._proven,
            hidden=None if text is None else text.hidden,
        )

    def _forward(
        self, text: CarriedText, module: nn.Module, index: int, linears: Mapping[str, nn.Module]
    ) -> StatisticsCollector:
        """The one forward of the calibration text through the full-precision block."""
        collector = StatisticsCollector(linears)
        with collector.collecting(), calibrating(self._model.device):
            for number in range(len(text.hidden)):
                output = text.forward(module, index, text.hidden[number])
                if not bool(torch.isfinite(output).all()):
                    raise EngineError(
                        f"{self._model.prefix(index)} gives NaN or Inf for the calibration text",
                        hint="The base model is damaged, or its activations do not fit the compute dtype.",
                    )
                text.hidden[number] = output
                collector.end_of_batch()
        return collector

    def _prove(
        self,
        module: nn.Module,
        index: int,
        linears: Mapping[str, nn.Module],
        groups: list[tuple[str, ...]],
        first: Tensor,
    ) -> tuple[Fold, ...]:
        """The folds of the block. Blocks of one structure fold alike; each is proven once."""
        proof = self._proof
        if proof is None:
            return ()
        key = tuple((name, tuple(weight_view(layer).shape)) for name, layer in linears.items())
        if key not in self._proven:
            folds = find_folds(
                module,
                linears,
                groups,
                lambda changed: proof.forward(changed, index, first),
                head_dim=_head_dim(self._model),
            )
            # A new mapping: the one before may be written down meanwhile.
            self._proven = {**self._proven, key: folds}
        return self._proven[key]


def _head_dim(model: StreamedModel) -> int:
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
