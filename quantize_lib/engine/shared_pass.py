"""The shared pass: every block is read once, calibrated once, and quantized by every cell of the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from quantize_lib.engine.as_loaded import read_as_loaded
from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.block_input import block_input, usable
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock, Calibrator, GivenSums
from quantize_lib.engine.carry import Put, as_quantized
from quantize_lib.engine.cell_work import CellWork, PassOutcome
from quantize_lib.engine.cell_writer import CellWriter
from quantize_lib.engine.drift import DriftText, drift_texts
from quantize_lib.engine.lanes import Lanes
from quantize_lib.engine.measure import Measured, measure
from quantize_lib.engine.methods.base import gathered, rounder_of
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.outside import Outside
from quantize_lib.engine.pass_state import Batches, CarriedText, CellOutcome, PassState, PassStore
from quantize_lib.engine.rounded_alike import rounded_alike
from quantize_lib.errors import EngineError, QuantizerError
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter
from quantize_lib.sizing import batch_size


class SharedPass:
    """One job's walk over the blocks.

    Args:
        model: the base model.
        cells: what to make of it.
        calibration: token ids, int64 (samples, length); may be None where no method needs statistics.
        evaluation: held-out token ids, int64 (sequences, length), or None.
        sample: how many held-out sequences' base logits to keep for the check after the reload.
        store: keeps the state after each block, so that a killed pass goes on from there; None for none.
        ahead: calibrate each block while the one before is quantized; see `Calibrator.blocks`.
        lanes: at most how many cells quantize a block at the same time.
        given: sums of the calibration text, which then does not go through the blocks again.
    """

    def __init__(
        self,
        model: StreamedModel,
        cells: Sequence[CellWork],
        *,
        calibration: Tensor | None,
        evaluation: Tensor | None,
        sample: int,
        reporter: Reporter,
        store: PassStore | None = None,
        ahead: bool = False,
        lanes: int = 1,
        given: GivenSums | None = None,
    ) -> None:
        self._model = model
        self._cells = cells
        # The name is that of what is made for all of them, and of text that goes through it.
        self._alike = rounded_alike(cells, str(model.config.model_type))
        self._sample = sample
        self._reporter = reporter
        self._store = store
        self._outcomes = {cell.id: CellOutcome() for cell in cells}
        self._rounders = {cell.id: rounder_of(cell.method) for cell in cells}
        self._outside = {cell.id: Outside(model, cell, self._rounders[cell.id]) for cell in cells}
        calibrated = any(cell.method.calibrated for cell in cells)
        if calibrated and calibration is None:
            raise EngineError("calibration text is needed for " + ", ".join(c.id for c in cells))
        text = calibration if calibrated else None
        carried = {
            name: alike[0].method.carried_tokens(alike[0].settings) for name, alike in self._alike.items()
        }
        self._drifts: list[DriftText] = []
        if text is not None:
            self._drifts = drift_texts(text, carried, batch_size(model.device.type, text.shape[1]))
        self._calibrator = Calibrator(
            model,
            text,
            layers={name for cell in cells for name in cell.layers},
            folding=any(cell.method.folds(cell.settings) for cell in cells),
            given=given if calibrated else None,
            seen=[drift.sequences for drift in self._drifts],
            seen_once=sum(map(bool, carried.values())) == 1,
        )
        self._ahead = ahead and calibrated
        self._lanes = Lanes(min(lanes, len(self._alike), torch.get_num_threads()))
        # One sequence at a time, as after the reload: LLM.int8 chooses outlier columns over a whole batch.
        self._evaluation = None if evaluation is None else CarriedText(evaluation, 1)
        self._carried: dict[str, Batches] = {}

    def run(self) -> PassOutcome:
        """Quantize every cell. A cell that fails is left out of the rest; the others go on.

        Raises:
            SourceError: where the base model cannot be read.
            EngineError: where the pass itself cannot go on.
        """
        started = time.monotonic()
        with torch.inference_mode():
            state = None if self._store is None else self._store.load()
            if state is not None:
                started -= state.seconds
            finished = self._begin(state)
            # What it holds is ours now, and replaced batch by batch.
            del state
            with (
                closing(self._lanes),
                self._reporter.progress("Quantizing", len(self._model), "block") as progress,
                closing(self._calibrator.blocks(finished, ahead=self._ahead)) as blocks,
            ):
                if finished:
                    progress.advance(finished)
                for block in blocks:
                    self._block(block)
                    if not self._alive():
                        break
                    self._commit(block, time.monotonic() - started)
                    progress.advance()
                    # Before the next one is read.
                    del block
            self._write_outside()
            self._sum_up()
            measured = self._measure()
        own = sum(outcome.seconds for outcome in self._outcomes.values())
        return PassOutcome(
            cells=self._outcomes,
            base_tokens=measured.base,
            base_logits=measured.base_logits,
            shared_seconds=time.monotonic() - started - own,
        )

    def _begin(self, state: PassState | None) -> int:
        """Bring the texts to the first block that is to be done; its index."""
        hidden: Mapping[str, Batches] = {} if state is None else state.hidden
        with self._model.outer():
            self._calibrator.begin(
                partial(self._hold, "calibration"),
                hidden.get("calibration"),
                None if state is None else state.folds,
            )
            if self._evaluation is not None:
                self._evaluation.embed(
                    self._model, partial(self._hold, "evaluation"), hidden.get("evaluation")
                )
            if state is not None:
                self._outcomes.update(state.cells)
            alive = self._alive_alike()
            for drift in self._drifts:
                drift.begin(self._model, self._hold, hidden, alive)
            for name, cells in alive.items():
                self._carry(name, cells, None if state is None else hidden)
        if state is None or not state.blocks:
            return 0
        self._reporter.info(f"continuing after block {state.blocks} of {len(self._model)}")
        return state.blocks

    def _carry(self, name: str, cells: Sequence[CellWork], hidden: Mapping[str, Batches] | None) -> None:
        """Give cells the held-out text as it comes to the block that is next.

        Args:
            hidden: as an earlier process left all texts; None where none did.
        """
        text, outside, kept = self._evaluation, self._outside[cells[0].id], f"cell/{name}"
        if text is None:
            return
        states: Iterable[Tensor] = text.hidden if hidden is None else hidden[kept]
        if outside and hidden is None:
            states = outside.embedded(text)
        try:
            self._carried[name] = self._hold(kept, states)
        except QuantizerError as error:
            self._fail(cells, error)

    def _hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        return list(batches) if self._store is None else self._store.hold(name, batches)

    def _commit(self, block: CalibratedBlock, seconds: float) -> None:
        if self._store is None:
            return
        hidden = {f"cell/{name}": states for name, states in self._carried.items()}
        for drift in self._drifts:
            hidden |= drift.hidden
        if block.hidden is not None:
            hidden["calibration"] = block.hidden
        if self._evaluation is not None:
            hidden["evaluation"] = self._evaluation.hidden
        self._store.commit(
            PassState(
                blocks=block.index + 1,
                seconds=seconds,
                cells=self._outcomes,
                folds=block.proven,
                hidden=hidden,
            )
        )

    def _alive(self) -> list[CellWork]:
        return [cell for cell in self._cells if self._outcomes[cell.id].error is None]

    def _alive_alike(self) -> dict[str, list[CellWork]]:
        """The cells that did not fail, those that are rounded alike together, by the name of these."""
        alive = {
            name: [cell for cell in alike if self._outcomes[cell.id].error is None]
            for name, alike in self._alike.items()
        }
        return {name: cells for name, cells in alive.items() if cells}

    def _drift_of(self, name: str) -> DriftText | None:
        """The text by which cells make up for errors; None where they do not."""
        return next((drift for drift in self._drifts if name in drift), None)

    def _block(self, block: CalibratedBlock) -> None:
        alive = self._alive_alike()
        works = [partial(self._make_or_fail, name, list(cells)) for name, cells in alive.items()]
        for cells, seconds in zip(alive.values(), self._lanes.run(block, works), strict=True):
            for cell in cells:
                # What is made for several is each one's own in equal parts.
                self._outcomes[cell.id].seconds += seconds / len(cells)
        if self._evaluation is not None:
            self._evaluation.advance(block.module, block.index, self._evaluation.hidden)

    def _make_or_fail(self, name: str, cells: list[CellWork], block: CalibratedBlock) -> None:
        try:
            self._make(name, cells, block)
        except QuantizerError as error:
            self._fail(cells, error)
        self._release()

    def _release(self) -> None:
        # What was needed is not to be there beside what is needed next. Where it is little, the system takes
        # longer to find it again.
        if not self._ahead:
            release_freed()

    def _make(self, name: str, cells: list[CellWork], block: CalibratedBlock) -> None:
        """Quantize a block, write it for each cell, and carry the held-out text through it.

        Args:
            cells: rounded alike; those for which it cannot be written are gone afterwards.
        """
        model, first = self._model, cells[0]
        prefix = model.prefix(block.index)
        writers = {cell.id: CellWriter(model, cell, block) for cell in cells}
        told: list[str] = []
        of_experts: list[str] = []
        parts = 0
        inputs = first.format.rounds_inputs(str(model.config.model_type))
        with as_quantized(block.module, stored=model.disk_dtype, inputs=inputs) as put:
            for part in block.parts(first.layers):
                parts += 1
                output = self._quantize(name, first, block, part, put)
                self._write(cells, {key: partial(one.part, output) for key, one in writers.items()})
                for cell in cells:
                    self._tally(cell, block, part, output)
                notes = told if part.tally is None else of_experts
                notes.extend(f"{prefix}: {note}" for note in output.notes)
                # Before the next one is made.
                del output
            self._write(cells, {key: one.rest for key, one in writers.items()})
            # There may be one for each of a thousand experts.
            told += of_experts[:1]
            if len(of_experts) > 1:
                told.append(f"{prefix}: {len(of_experts) - 1} more such notes on layers of experts")
            for cell in cells:
                self._outcomes[cell.id].notes.extend(told)
            if (drift := self._drift_of(name)) is not None:
                drift.leave(name, block, again=parts > 1)
            if self._evaluation is not None:
                self._evaluation.advance(block.module, block.index, self._carried[name])

    def _write(self, cells: list[CellWork], writing: Mapping[str, Callable[[], None]]) -> None:
        """Write for each cell; one for which that fails is left out of the rest.

        Raises:
            QuantizerError: where no other is left.
        """
        for cell in tuple(cells):
            try:
                writing[cell.id]()
            except QuantizerError as error:
                if len(cells) == 1:
                    raise
                cells.remove(cell)
                self._fail([cell], error)

    def _tally(self, cell: CellWork, block: CalibratedBlock, part: BlockPart, output: RoundedBlock) -> None:
        """Keep what is told of a cell."""
        outcome = self._outcomes[cell.id]
        outcome.errors.update({block.names[name]: value for name, value in output.errors.items()})
        if cell.method.calibrated and part.tally is not None:
            outcome.experts = part.tally.beside(outcome.experts)
        if cell.method.folds(cell.settings):
            scaled = {target for fold in usable(block.folds, part.linears) for target in fold.targets}
            outcome.unscaled += len(part.linears.keys() - scaled)

    def _sum_up(self) -> None:
        """Say of each cell what its layers have in common."""
        for cell in self._alive():
            outcome = self._outcomes[cell.id]
            notes = outcome.in_common(len(cell.layers))
            outcome.notes += notes
            for note in notes:
                self._reporter.info(f"{cell.id}: {note}")

    def _fail(self, cells: Iterable[CellWork], error: QuantizerError) -> None:
        """Leave cells out of the rest."""
        for cell in cells:
            self._outcomes[cell.id].error = error
            cell.sink.discard()
            # The host tells it once more as an error, when the job is done.
            self._reporter.info(f"{cell.id} failed, the others go on: {error}")
        for name in self._alike.keys() - self._alive_alike().keys():
            self._carried.pop(name, None)
            if (drift := self._drift_of(name)) is not None:
                drift.forget(name)

    def _quantize(
        self, name: str, cell: CellWork, block: CalibratedBlock, part: BlockPart, put: Put
    ) -> RoundedBlock:
        """Round a part of a block, and put it in its place where text is to go through it."""
        given = block_input(block, part, cell.layers, self._model.disk_dtype, cell.types)
        rounding = self._rounders[cell.id].begin(given, cell.settings, cell.grid)
        drift = self._drift_of(name)
        if part.tally is None and drift is not None:
            put_here = partial(put, part.linears)
            made = gathered(
                given, rounding.params, drift.round(name, block, part, rounding, put_here, self._release)
            )
            # Experts of the block would still be those of the base.
            whole = all(linear.owner is None for linear in block.linears.values())
            if whole and made.layers and cell.method.learns_scales(cell.settings):
                return drift.learn(name, block, part, made, put_here)
            return made
        output = gathered(given, rounding.params, [rounding.round(given.linears)])
        if self._evaluation is not None or drift is not None:
            put(part.linears, output)
        return output

    def _write_outside(self) -> None:
        names = self._model.outside_tensors()
        for as_loaded, read in ((False, self._model.read), (True, partial(read_as_loaded, self._model))):
            cells = [cell for cell in self._alive() if cell.format.as_loaded == as_loaded]
            for name, tensor in read(names) if cells else ():
                for cell in cells:
                    self._write_one(cell, partial(self._outside[cell.id].stored, name, tensor))
        for name, tensor in self._model.copied():
            for cell in self._alive():
                self._write_one(cell, partial(dict, {name: tensor}))

    def _write_one(self, cell: CellWork, made: Callable[[], Mapping[str, Tensor]]) -> None:
        if self._outcomes[cell.id].error is None:
            try:
                cell.sink.write(made())
            except QuantizerError as error:
                self._fail([cell], error)

    def _measure(self) -> Measured:
        """Every metric's values of the base model and of every cell that came through."""
        if self._evaluation is None or not self._alive():
            return Measured()
        # The largest tensors of all come now; nothing is calibrated any more.
        self._calibrator.forget()
        alive = self._alive_alike()
        measured = measure(
            self._model,
            self._evaluation,
            {name: self._carried[name] for name in alive},
            outside={
                name: made.weights for name, cells in alive.items() if (made := self._outside[cells[0].id])
            },
            sample=self._sample,
            reporter=self._reporter,
        )
        for name, tokens in measured.cells.items():
            for cell in alive[name]:
                self._outcomes[cell.id].tokens = dict(tokens)
        return measured
