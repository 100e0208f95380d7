"""What cells make of the tensors outside the blocks: embeddings and the output layer, where they round them.

Most formats leave them as they are. Where one does not, text has to begin with the rounded embedding and to
end in the rounded output layer, as it will where the checkpoint is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.methods.base import Rounder
from quantize_lib.formats.rounded import Grid, RoundedLayer
from quantize_lib.methods import Settings

if TYPE_CHECKING:
    from quantize_lib.engine.cell_work import CellWork
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.pass_state import CarriedText


class Outside:
    """The tensors outside the blocks as one cell stores them.

    Args:
        rounder: of the cell's method.

    What is rounded is kept in its few bits, for the length of the pass.
    """

    def __init__(self, model: StreamedModel, cell: CellWork, rounder: Rounder) -> None:
        self._model = model
        self._cell = cell
        self._rounder = rounder
        self._names = [name for name in model.outside_tensors() if name in cell.types]
        self._made: dict[str, dict[str, Tensor]] = {}

    def __bool__(self) -> bool:
        """Whether it rounds any of them."""
        return bool(self._names)

    def stored(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        """The tensors of a checkpoint that take the place of one of the base model's.

        Raises:
            EngineError: where it cannot be rounded.
        """
        if name not in self._names:
            return {name: kept(self._cell, tensor, self._model)}
        path = name.rpartition(".")[0]
        return {f"{path}.{part}": value for part, value in self._parts(name, tensor).items()}

    def weights(self) -> dict[str, Tensor]:
        """What is rounded means, by name in a checkpoint, in the dtype in which the model computes.

        Raises:
            EngineError: where one cannot be rounded.
        """
        found: dict[str, Tensor] = {}
        missing = [name for name in self._names if name not in self._made]
        for name, tensor in self._model.read(missing):
            self._parts(name, tensor)
        for name in self._names:
            value = self._cell.format.weight(self._made[name], self._cell.types[name])
            found[name] = value.to(self._model.device, self._model.compute_dtype)
        return found

    def embedded(self, text: CarriedText) -> Iterator[Tensor]:
        """A text's hidden states before the first block, by batch. Only inside the model's `outer`."""
        with self._model.replacing(self.weights()):
            yield from text.embedded(self._model)

    def _parts(self, name: str, tensor: Tensor) -> Mapping[str, Tensor]:
        if name not in self._made:
            rounded = rounded_outside(
                name,
                tensor,
                self._cell.types[name],
                rounder=self._rounder,
                settings=self._cell.settings,
                grid=self._cell.grid,
                dtype=self._model.disk_dtype,
            )
            self._made[name] = self._cell.format.pack(rounded)
        return self._made[name]


def rounded_outside(
    name: str,
    tensor: Tensor,
    kind: str,
    *,
    rounder: Rounder,
    settings: Settings,
    grid: Grid,
    dtype: torch.dtype,
) -> RoundedLayer:
    """What a method makes of a matrix outside the blocks.

    Args:
        tensor: (out, in), as it is on disk.
        kind: the type in which it is stored.
        dtype: of unquantized tensors on disk.

    Raises:
        EngineError: where it cannot be rounded.
    """
    linear = LinearInput(
        name=name,
        weight=tensor.float(),
        bias=None,
        # Nobody multiplies by an embedding, and an output layer is worth its bits as it is.
        statistics=None,
        bits=settings.bits,
        group_size=-1,
        kind=kind,
    )
    block = BlockInput(index=-1, linears={name: linear}, params={}, folds=(), dtype=dtype)
    return rounder.round(block, settings, grid).layers[name]


def kept(cell: CellWork, tensor: Tensor, model: StreamedModel) -> Tensor:
    """A tensor of the base model as the cell's format stores what it does not round."""
    convert = cell.format.one_dtype and tensor.is_floating_point()
    return tensor.to(model.disk_dtype) if convert else tensor
