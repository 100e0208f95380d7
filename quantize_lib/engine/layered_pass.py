"""The pass without a walk: every tensor is read once, and quantized by every cell of the job as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.cell_work import CellWork, PassOutcome
from quantize_lib.engine.layered_model import LayeredModel
from quantize_lib.engine.methods.base import rounder_of
from quantize_lib.engine.pass_state import CellOutcome
from quantize_lib.errors import QuantizerError
from quantize_lib.reporting import Reporter


class LayeredPass:
    """One job's way through the tensors of a model, for methods that need no statistics.

    Args:
        model: the base model.
        cells: what to make of it.
    """

    def __init__(self, model: LayeredModel, cells: Sequence[CellWork], *, reporter: Reporter) -> None:
        self._model = model
        self._cells = cells
        self._reporter = reporter
        self._outcomes = {cell.id: CellOutcome() for cell in cells}
        self._rounders = {cell.id: rounder_of(cell.method) for cell in cells}
        for cell in cells:
            model.check_skipped(cell.layers)

    def run(self) -> PassOutcome:
        """Quantize every cell. A cell that fails is left out of the rest; the others go on.

        Raises:
            SourceError: where the base model cannot be read.
        """
        started = time.monotonic()
        origins = self._model.origins()
        with (
            torch.inference_mode(),
            self._reporter.progress("Quantizing", len(origins), "tensor") as progress,
        ):
            for origin in origins:
                for name, tensor in self._model.read(origin):
                    self._write(name, self._model.written(origin, name), tensor)
                progress.advance()
        own = sum(outcome.seconds for outcome in self._outcomes.values())
        return PassOutcome(
            cells=self._outcomes,
            base_tokens={},
            base_logits=None,
            shared_seconds=time.monotonic() - started - own,
        )

    def _write(self, name: str, written: str, tensor: Tensor) -> None:
        layer = name.removesuffix(".weight")
        for cell in self._cells:
            outcome = self._outcomes[cell.id]
            if outcome.error is not None:
                continue
            started = time.monotonic()
            try:
                if layer != name and layer in cell.layers:
                    cell.sink.write(self._quantized(cell, layer, tensor))
                else:
                    convert = cell.format.one_dtype and tensor.is_floating_point()
                    cell.sink.write({written: tensor.to(self._model.kept_dtype(name)) if convert else tensor})
            except QuantizerError as error:
                outcome.error = error
                cell.sink.discard()
                self._reporter.info(f"{cell.id} failed, the others go on: {error}")
            outcome.seconds += time.monotonic() - started

    def _quantized(self, cell: CellWork, layer: str, weight: Tensor) -> dict[str, Tensor]:
        bits, group_size = cell.layers[layer]
        linear = LinearInput(
            name=layer,
            weight=self._model.matrix(layer, weight),
            # It is a tensor of its own, which stays as it is.
            bias=None,
            statistics=None,
            bits=bits,
            group_size=group_size,
        )
        rounded = self._rounders[cell.id].round(
            BlockInput(index=0, linears={layer: linear}, params={}, folds=(), dtype=self._model.disk_dtype),
            cell.settings,
            cell.grid,
        )
        parts = cell.format.pack(rounded.layers[layer])
        return {f"{layer}.{part}": value.cpu().contiguous() for part, value in parts.items()}
