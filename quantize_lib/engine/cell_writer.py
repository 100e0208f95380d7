"""Writes what was made of a block as the tensors of one cell's checkpoint."""

from __future__ import annotations

from functools import partial

from quantize_lib.engine.as_loaded import read_as_loaded
from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.calibrator import CalibratedBlock
from quantize_lib.engine.cell_work import CellWork
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.outside import kept
from quantize_lib.engine.pack import pack_block, split_layers


class CellWriter:
    """One block of a cell, part by part."""

    def __init__(self, model: StreamedModel, cell: CellWork, block: CalibratedBlock) -> None:
        self._model = model
        self._cell = cell
        self._block = block
        self._replaced: set[str] | None = None

    def part(self, output: RoundedBlock) -> None:
        """Write what the method made of some layers, packed by the format."""
        model, block, cell = self._model, self._block, self._cell
        prefix = model.prefix(block.index)

        def named(module: str, leaf: str) -> str:
            known = block.names.get(module)
            return f"{known}.{leaf}" if known else model.written(f"{prefix}.{module}.{leaf}")

        # What a format adds to a block comes with the first part.
        adding = self._replaced is None
        packed = pack_block(cell.format, model, block.module if adding else None, output, named=named)
        cell.sink.write(packed)
        tensors = model.layer_tensors(block.index)
        self._replaced = (self._replaced or set()) | {tensors[block.names[name]] for name in output.layers}
        self._replaced |= set(packed)

    def rest(self) -> None:
        """Write the tensors of the block that nothing took the place of; the block is as it was loaded."""
        model, index, cell = self._model, self._block.index, self._cell
        cell.sink.write(split_layers(model, index, self._block.module, cell.layers))
        replaced = self._replaced or ()
        untouched = [name for name in model.block_tensors(index) if name not in replaced]
        read = partial(read_as_loaded, model) if cell.format.as_loaded else model.read
        cell.sink.write({name: kept(cell, tensor, model) for name, tensor in read(untouched)})
