"""The shared pass: every block is read once, calibrated once, and quantized by every cell of the job."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput, RoundedBlock
from quantize_lib.engine.calibrator import CalibratedBlock, Calibrator
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.folds import weight_view
from quantize_lib.engine.measure import Measured, measure
from quantize_lib.engine.methods.base import rounder_of
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pack import pack_block
from quantize_lib.engine.pass_state import Batches, CarriedText, CellOutcome, PassState, PassStore
from quantize_lib.errors import EngineError, QuantizerError
from quantize_lib.formats import Format
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Method, Settings
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter


class TensorSink(Protocol):
    """Where a cell's finished tensors go."""

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Append tensors by full name."""

    def discard(self) -> None:
        """Remove what was written: the cell failed."""


@dataclass(frozen=True, kw_only=True)
class CellWork:
    """One cell of the pass.

    Attributes:
        method: what it is rounded by.
        format: how it is stored.
        layers: full name of each linear layer to quantize → (bits, group size).
    """

    id: str
    settings: Settings
    method: Method
    format: Format
    layers: Mapping[str, tuple[int, int]]
    sink: TensorSink

    @property
    def grid(self) -> Grid:
        """What the format asks of the codes."""
        return self.format.grid(self.method, self.settings)


@dataclass(frozen=True, kw_only=True)
class PassOutcome:
    """What one pass gives.

    Attributes:
        cells: by cell id.
        base_tokens: as a cell's `tokens`, of the full-precision model; without the metrics that compare with
            it.
        base_logits: float32 (sample, length, vocabulary) of the first held-out sequences.
        shared_seconds: wall time that no single cell caused.
    """

    cells: Mapping[str, CellOutcome]
    base_tokens: Mapping[str, Tensor]
    base_logits: Tensor | None
    shared_seconds: float


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
    ) -> None:
        self._model = model
        self._cells = cells
        self._sample = sample
        self._reporter = reporter
        self._store = store
        self._outcomes = {cell.id: CellOutcome() for cell in cells}
        self._rounders = {cell.id: rounder_of(cell.method) for cell in cells}
        calibrated = any(cell.method.calibrated for cell in cells)
        if calibrated and calibration is None:
            raise EngineError("calibration text is needed for " + ", ".join(c.id for c in cells))
        self._calibrator = Calibrator(
            model,
            calibration if calibrated else None,
            layers={name for cell in cells for name in cell.layers},
            folding=any(cell.method.folds for cell in cells),
        )
        self._ahead = ahead and calibrated
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
        if self._evaluation is not None:
            self._carried = {
                cell.id: self._hold(name, hidden.get(name, self._evaluation.hidden))
                for cell in self._alive()
                for name in (f"cell/{cell.id}",)
            }
        if state is None or not state.blocks:
            return 0
        self._reporter.info(f"continuing after block {state.blocks} of {len(self._model)}")
        return state.blocks

    def _hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        return list(batches) if self._store is None else self._store.hold(name, batches)

    def _commit(self, block: CalibratedBlock, seconds: float) -> None:
        if self._store is None:
            return
        hidden = {f"cell/{cell_id}": states for cell_id, states in self._carried.items()}
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

    def _block(self, block: CalibratedBlock) -> None:
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
        prefix, outcome = self._model.prefix(block.index), self._outcomes[cell.id]
        output = self._quantize(cell, block)
        self._write_block(cell, block, output)
        outcome.errors.update({f"{prefix}.{name}": value for name, value in output.errors.items()})
        outcome.notes.extend(f"{prefix}: {note}" for note in output.notes)
        if self._evaluation is not None:
            mine = {name: module for name, module in block.linears.items() if name in output.layers}
            with as_quantized(block.module, mine, output):
                self._evaluation.advance(block.module, block.index, self._carried[cell.id])

    def _fail(self, cell: CellWork, error: QuantizerError) -> None:
        self._outcomes[cell.id].error = error
        cell.sink.discard()
        self._carried.pop(cell.id, None)
        # The host tells it once more as an error, when the job is done.
        self._reporter.info(f"{cell.id} failed, the others go on: {error}")

    def _quantize(self, cell: CellWork, block: CalibratedBlock) -> RoundedBlock:
        prefix = self._model.prefix(block.index)
        inputs: dict[str, LinearInput] = {}
        for name, module in block.linears.items():
            if f"{prefix}.{name}" in cell.layers:
                bits, group_size = cell.layers[f"{prefix}.{name}"]
                bias = getattr(module, "bias", None)
                inputs[name] = LinearInput(
                    name=name,
                    weight=weight_view(module).float(),
                    bias=None if bias is None else bias.float(),
                    statistics=block.statistics.get(name),
                    bits=bits,
                    group_size=group_size,
                )
        params = {
            name: value.float()
            for name, value in block.module.named_parameters()
            if name.rpartition(".")[0] not in inputs
        }
        usable = tuple(
            fold
            for fold in block.folds
            if all(target in inputs for target in fold.targets)
            and (fold.kind != "linear" or fold.source in inputs)
        )
        return self._rounders[cell.id].round(
            BlockInput(
                index=block.index,
                linears=inputs,
                params=params,
                folds=usable,
                dtype=self._model.disk_dtype,
            ),
            cell.settings,
            cell.grid,
        )

    def _write_block(self, cell: CellWork, block: CalibratedBlock, output: RoundedBlock) -> None:
        """What the method made, packed by the format, and the block's other tensors."""
        prefix = self._model.prefix(block.index)
        packed = pack_block(cell.format, self._model, block.module, output)
        result = {f"{prefix}.{name}": tensor for name, tensor in packed.items()}
        replaced = {f"{prefix}.{name}.weight" for name in output.layers} | set(result)
        untouched = [name for name in self._model.block_tensors(block.index) if name not in replaced]
        result.update((name, self._kept(cell, tensor)) for name, tensor in self._model.read(untouched))
        cell.sink.write(result)

    def _kept(self, cell: CellWork, tensor: Tensor) -> Tensor:
        """A tensor of the base model as the cell's format stores it."""
        convert = cell.format.one_dtype and tensor.is_floating_point()
        return tensor.to(self._model.disk_dtype) if convert else tensor

    def _write_outside(self) -> None:
        for name, tensor in self._model.read(self._model.outside_tensors()):
            for cell in self._alive():
                try:
                    cell.sink.write({self._model.output_name(name): self._kept(cell, tensor)})
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
            sample=self._sample,
            reporter=self._reporter,
        )
        for cell_id, tokens in measured.cells.items():
            self._outcomes[cell_id].tokens = tokens
        return measured
