"""The shared pass: every block is read once, calibrated once, and quantized by every cell of the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from quantize_lib.engine.drift import DriftText, drift_texts
from quantize_lib.engine.measure import Measured, measure
from quantize_lib.engine.methods.base import gathered, rounder_of
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.outside import Outside, kept
from quantize_lib.engine.pack import pack_block, split_layers
from quantize_lib.engine.pass_state import Batches, CarriedText, CellOutcome, PassState, PassStore
from quantize_lib.errors import EngineError, QuantizerError
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter


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
        given: GivenSums | None = None,
    ) -> None:
        self._model = model
        self._cells = cells
        self._sample = sample
        self._reporter = reporter
        self._store = store
        self._outcomes = {cell.id: CellOutcome() for cell in cells}
        self._rounders = {cell.id: rounder_of(cell.method) for cell in cells}
        self._outside = {cell.id: Outside(model, cell, self._rounders[cell.id]) for cell in cells}
        calibrated = any(cell.method.calibrated for cell in cells)
        if calibrated and calibration is None:
            raise EngineError("calibration text is needed for " + ", ".join(c.id for c in cells))
        self._calibrator = Calibrator(
            model,
            calibration if calibrated else None,
            layers={name for cell in cells for name in cell.layers},
            folding=any(cell.method.folds(cell.settings) for cell in cells),
            given=given if calibrated else None,
        )
        self._ahead = ahead and calibrated
        # One sequence at a time, as after the reload: LLM.int8 chooses outlier columns over a whole batch.
        self._evaluation = None if evaluation is None else CarriedText(evaluation, 1)
        self._carried: dict[str, Batches] = {}
        self._drifts = drift_texts(
            calibration, {cell.id: cell.method.carried_tokens(cell.settings) for cell in cells}
        )

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
            alive = [cell.id for cell in self._alive()]
            for drift in self._drifts:
                drift.begin(self._model, self._hold, hidden, alive)
            for cell in self._alive():
                self._carry(cell, hidden.get(f"cell/{cell.id}"))
        if state is None or not state.blocks:
            return 0
        self._reporter.info(f"continuing after block {state.blocks} of {len(self._model)}")
        return state.blocks

    def _carry(self, cell: CellWork, hidden: Batches | None) -> None:
        """Give a cell the held-out text as it comes to the block that is next."""
        text, outside = self._evaluation, self._outside[cell.id]
        if text is None:
            return
        states: Iterable[Tensor] = text.hidden if hidden is None else hidden
        if outside and hidden is None:
            states = outside.embedded(text)
        try:
            self._carried[cell.id] = self._hold(f"cell/{cell.id}", states)
        except QuantizerError as error:
            self._fail(cell, error)

    def _hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        return list(batches) if self._store is None else self._store.hold(name, batches)

    def _commit(self, block: CalibratedBlock, seconds: float) -> None:
        if self._store is None:
            return
        hidden = {f"cell/{cell_id}": states for cell_id, states in self._carried.items()}
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

    def _drift_of(self, cell: CellWork) -> DriftText | None:
        """The text by which a cell makes up for errors; None where it does not."""
        return next((drift for drift in self._drifts if cell.id in drift), None)

    def _block(self, block: CalibratedBlock) -> None:
        for drift in self._drifts:
            drift.enter(block)
        for cell in self._alive():
            outcome = self._outcomes[cell.id]
            started = time.monotonic()
            try:
                self._cell(cell, block)
            except QuantizerError as error:
                self._fail(cell, error)
            # What one cell needed is not to be there beside what the next one needs. Where it is little, the
            # system takes longer to find it again.
            if not self._ahead:
                release_freed()
            outcome.seconds += time.monotonic() - started
        if self._evaluation is not None:
            self._evaluation.advance(block.module, block.index, self._evaluation.hidden)

    def _cell(self, cell: CellWork, block: CalibratedBlock) -> None:
        """Quantize a block for one cell, write it, and carry the held-out text through it."""
        model, outcome = self._model, self._outcomes[cell.id]
        prefix = model.prefix(block.index)
        replaced: set[str] = set()
        of_experts: list[str] = []
        inputs = cell.format.rounds_inputs(str(model.config.model_type))
        with as_quantized(block.module, stored=model.disk_dtype, inputs=inputs) as put:
            for number, part in enumerate(block.parts(cell.layers)):
                output = self._quantize(cell, block, part, put)
                # What a format adds to a block comes with the first part.
                replaced |= self._write_part(cell, block, output, adding=number == 0)
                self._tally(cell, block, part)
                outcome.errors.update({block.names[name]: value for name, value in output.errors.items()})
                notes = outcome.notes if part.tally is None else of_experts
                notes.extend(f"{prefix}: {note}" for note in output.notes)
                # Before the next one is made.
                del output
            self._write_rest(cell, block, replaced)
            # There may be one for each of a thousand experts.
            outcome.notes.extend(of_experts[:1])
            if len(of_experts) > 1:
                outcome.notes.append(f"{prefix}: {len(of_experts) - 1} more such notes on layers of experts")
            if (drift := self._drift_of(cell)) is not None:
                drift.leave(cell.id, block, again=number > 0)
            if self._evaluation is not None:
                self._evaluation.advance(block.module, block.index, self._carried[cell.id])

    def _tally(self, cell: CellWork, block: CalibratedBlock, part: BlockPart) -> None:
        """Count what is told of a cell as a whole."""
        outcome = self._outcomes[cell.id]
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

    def _fail(self, cell: CellWork, error: QuantizerError) -> None:
        self._outcomes[cell.id].error = error
        cell.sink.discard()
        self._carried.pop(cell.id, None)
        if (drift := self._drift_of(cell)) is not None:
            drift.forget(cell.id)
        # The host tells it once more as an error, when the job is done.
        self._reporter.info(f"{cell.id} failed, the others go on: {error}")

    def _quantize(self, cell: CellWork, block: CalibratedBlock, part: BlockPart, put: Put) -> RoundedBlock:
        """Round a part of a block, and put it in its place where text is to go through it."""
        given = block_input(block, part, cell.layers, self._model.disk_dtype, cell.types)
        rounding = self._rounders[cell.id].begin(given, cell.settings, cell.grid)
        drift = self._drift_of(cell)
        if part.tally is None and drift is not None:
            pieces = drift.round(cell.id, block, part, rounding, partial(put, part.linears))
            return gathered(given, rounding.params, pieces)
        output = gathered(given, rounding.params, [rounding.round(given.linears)])
        if self._evaluation is not None or drift is not None:
            put(part.linears, output)
        return output

    def _write_part(
        self, cell: CellWork, block: CalibratedBlock, output: RoundedBlock, *, adding: bool
    ) -> set[str]:
        """Write what the method made, packed by the format.

        Args:
            adding: with the tensors that the format adds to a block.

        Returns:
            The names of the block's tensors that it takes the place of.
        """
        prefix = self._model.prefix(block.index)

        def named(module: str, leaf: str) -> str:
            known = block.names.get(module)
            return f"{known}.{leaf}" if known else self._model.written(f"{prefix}.{module}.{leaf}")

        packed = pack_block(cell.format, self._model, block.module if adding else None, output, named=named)
        cell.sink.write(packed)
        tensors = self._model.layer_tensors(block.index)
        return {tensors[block.names[name]] for name in output.layers} | set(packed)

    def _write_rest(self, cell: CellWork, block: CalibratedBlock, replaced: Collection[str]) -> None:
        """Write the tensors of a block that nothing took the place of."""
        cell.sink.write(split_layers(self._model, block.index, block.module, cell.layers))
        untouched = [name for name in self._model.block_tensors(block.index) if name not in replaced]
        read = partial(read_as_loaded, self._model) if cell.format.as_loaded else self._model.read
        cell.sink.write({name: kept(cell, tensor, self._model) for name, tensor in read(untouched)})

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
                self._fail(cell, error)

    def _measure(self) -> Measured:
        """Every metric's values of the base model and of every cell that came through."""
        if self._evaluation is None or not self._alive():
            return Measured()
        # The largest tensors of all come now; nothing is calibrated any more.
        self._calibrator.forget()
        measured = measure(
            self._model,
            self._evaluation,
            {cell.id: self._carried[cell.id] for cell in self._alive()},
            outside={cell.id: made.weights for cell in self._alive() if (made := self._outside[cell.id])},
            sample=self._sample,
            reporter=self._reporter,
        )
        for cell_id, tokens in measured.cells.items():
            self._outcomes[cell_id].tokens = tokens
        return measured
