"""The pass of a shard: a part of the calibration text on its way through the blocks, for its sums alone."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor

from quantize_lib.engine.calibrator import Calibrator
from quantize_lib.engine.cell_work import TensorSink
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CellOutcome, PassState, PassStore
from quantize_lib.engine.stored_sums import stored
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter


class StatisticsPass:
    """One shard's walk over the blocks.

    Args:
        model: the base model.
        ids: the shard's token ids, int64 (samples, length).
        layers: full names of the linear layers whose inputs are of interest.
        sink: gets the sums; see `stored_sums`.
        store: keeps the state after each block, so that a killed pass goes on from there.
        name: under which the store has the sink.
    """

    def __init__(
        self,
        model: StreamedModel,
        ids: Tensor,
        *,
        layers: Collection[str],
        sink: TensorSink,
        store: PassStore,
        name: str,
        reporter: Reporter,
    ) -> None:
        self._model = model
        self._calibrator = Calibrator(model, ids, layers=layers, folding=False)
        self._sink = sink
        self._store = store
        self._name = name
        self._reporter = reporter

    def run(self) -> None:
        """Take the text through every block that is not finished.

        Raises:
            SourceError: where the base model cannot be read.
            EngineError: for values that are not finite.
            CheckpointError: where the disk is full.
        """
        started = time.monotonic()
        with torch.inference_mode():
            state = self._store.load()
            finished = 0 if state is None else state.blocks
            if state is not None:
                started -= state.seconds
            with self._model.outer():
                self._calibrator.begin(
                    partial(self._store.hold, "calibration"),
                    None if state is None else state.hidden["calibration"],
                )
            del state
            if finished:
                self._reporter.info(f"continuing after block {finished} of {len(self._model)}")
            with self._reporter.progress("Calibrating", len(self._model), "block") as progress:
                progress.advance(finished)
                for index in range(finished, len(self._model)):
                    self._block(index)
                    self._store.commit(
                        PassState(
                            blocks=index + 1,
                            seconds=time.monotonic() - started,
                            cells={self._name: CellOutcome()},
                            folds={},
                            hidden={"calibration": self._calibrator.hidden},
                        )
                    )
                    progress.advance()

    def _block(self, index: int) -> None:
        for name, tensor in stored(self._model.prefix(index), self._calibrator.collect(index)):
            self._sink.write({name: tensor})
        release_freed()
