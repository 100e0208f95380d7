"""Where in a block's modules a linear layer of the files is: a parameter, or a slice of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.engine.experts import GATE, UP
from quantize_lib.engine.names import Names, Origin
from quantize_lib.errors import SourceError
from quantize_lib.wording import show

_ROWS, _COLUMNS = 2, 3
"""The size of the matrices that are sent through a converter to see where they come out."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A linear layer's matrix in a block.

    Attributes:
        block: index of the block.
        parameter: its name in the block, in memory.
        expert: its index in the parameter's first dimension; None where the parameter is the matrix.
        rows: the outputs that are its own, as (start, stop, step); None for all.
        transposed: whether the matrix lies as (in, out).
    """

    block: int
    parameter: str
    expert: int | None = None
    rows: tuple[int, int, int] | None = None
    transposed: bool = False

    @property
    def module(self) -> str:
        """The name in the block of the module that the parameter belongs to."""
        return self.parameter.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The layer's name in the block, as `find_linears` has it."""
        if self.expert is None:
            return self.module
        part = self.parameter.rpartition(".")[2]
        if self.rows is not None:
            part = GATE if self.rows[0] == 0 else UP
        return f"{self.module}.{self.expert}.{part}"

    def matrix(self, block: nn.Module) -> Tensor:
        """The layer's weight, (out, in): a view, through which it can be written."""
        whole = block.get_parameter(self.parameter)
        matrix = whole if self.expert is None else whole[self.expert]
        matrix = matrix.T if self.transposed else matrix
        return matrix if self.rows is None else matrix[slice(*self.rows)]


class Places:
    """Finds layers in a model's tree of modules.

    Args:
        model: on the meta device.
        names: its way from disk to memory.
        blocks: full name of its list of blocks, …
        modules: … and the blocks.
    """

    def __init__(self, model: nn.Module, names: Names, blocks: str, modules: Sequence[nn.Module]) -> None:
        self._model = model
        self._names = names
        self._start = f"{blocks}."
        self._modules = modules
        self._converted: dict[str, dict[str, Place]] = {}

    def block_of(self, layer: LayerInfo) -> int | None:
        """The block that a layer is in; None where it is in none, or is rearranged with others on loading."""
        origin = self._names.by_source.get(layer.tensor)
        if origin is None or (origin.converter is not None and layer.expert is not None):
            return None
        target = origin.targets[0]
        return (
            int(target.removeprefix(self._start).partition(".")[0])
            if target.startswith(self._start)
            else None
        )

    def find(self, layer: LayerInfo) -> Place:
        """A layer's place.

        Raises:
            SourceError: where the tree has none for it, or one of another shape.
        """
        origin = self._names.by_source.get(layer.tensor)
        if origin is None or not origin.targets[0].startswith(self._start):
            raise _disagreement(layer, "the class of the model has no such layer in its blocks")
        if len(origin.targets) > 1:
            raise _disagreement(layer, "it becomes several layers when transformers loads it")
        index, _, parameter = origin.targets[0].removeprefix(self._start).partition(".")
        place = Place(block=int(index), parameter=parameter)
        if origin.converter is not None:
            place = self._in_converted(layer, origin, place)
        elif layer.expert is not None:
            place = self._in_stored(layer, place)
        elif _is_conv1d(self._modules[place.block].get_submodule(place.module)):
            place = replace(place, transposed=True)
        shape = tuple(place.matrix(self._modules[place.block]).shape)
        if shape != (layer.out_features, layer.in_features):
            raise _disagreement(layer, f"the class of the model has the shape {list(shape)} there")
        return place

    def _in_stored(self, layer: LayerInfo, place: Place) -> Place:
        """In a tensor of all experts that is taken as it is; its module says how it lies."""
        block = self._modules[place.block]
        module, (_, rows, columns) = (
            block.get_submodule(place.module),
            block.get_parameter(place.parameter).shape,
        )
        transposed = bool(getattr(module, "is_transposed", columns != layer.in_features))
        parts = (columns if transposed else rows) // layer.out_features
        if parts == 1:
            return replace(place, expert=layer.expert, transposed=transposed)
        number = int(layer.name.endswith(".up_proj"))
        beside = bool(getattr(module, "is_concatenated", True))
        span = _span(number, layer.out_features, None if beside else parts)
        return replace(place, expert=layer.expert, transposed=transposed, rows=span)

    def _in_converted(self, layer: LayerInfo, origin: Origin, place: Place) -> Place:
        """In a tensor that transformers puts together: small matrices show where each comes out.

        Raises:
            SourceError: where none does as a whole.
        """
        if layer.expert is not None:
            raise _disagreement(layer, "transformers rearranges its experts when it loads them")
        key = origin.targets[0]
        if key not in self._converted:
            self._converted[key] = self._sent_through(origin, place)
        found = self._converted[key].get(layer.tensor)
        if found is None:
            raise _disagreement(layer, "transformers takes it apart when it loads it")
        if found.rows is None:
            return found
        start, _, step = found.rows
        return replace(
            found,
            rows=_span(start // _ROWS, layer.out_features, None)
            if step == 1
            else _span(start, layer.out_features, step),
        )

    def _sent_through(self, origin: Origin, place: Place) -> dict[str, Place]:
        """Each source's place among small matrices."""
        size = _ROWS * _COLUMNS
        small = {
            name: torch.arange(number * size, (number + 1) * size).reshape(_ROWS, _COLUMNS)
            for number, name in enumerate(origin.sources)
        }
        try:
            (made,) = origin.make(self._model, small).values()
        except (RuntimeError, ValueError, IndexError, KeyError, AttributeError, TypeError):
            # Not made of whole matrices of any size.
            return {}
        if made.dim() != 3:
            return {}
        where = {
            int(value): tuple(map(int, at)) for value, at in zip(made.flatten(), _indices(made), strict=True)
        }
        places = {}
        for number, name in enumerate(origin.sources):
            first, right, below = (where.get(number * size + step) for step in (0, 1, _COLUMNS))
            if first is None or right is None or below is None:
                continue
            transposed = right[1] != first[1]
            axis = 2 if transposed else 1
            step = below[axis] - first[axis]
            rows = None if made.shape[axis] == _ROWS else (first[axis], first[axis] + step * _ROWS, step)
            places[name] = replace(place, expert=first[0], rows=rows, transposed=transposed)
        return places


def _indices(tensor: Tensor) -> Tensor:
    return torch.stack(torch.unravel_index(torch.arange(tensor.numel()), tensor.shape), dim=1)


def _span(number: int, outputs: int, parts: int | None) -> tuple[int, int, int]:
    """The outputs of one of several layers in a matrix.

    Args:
        parts: how many take turns; None where they lie one below the other.
    """
    if parts is None:
        return number * outputs, (number + 1) * outputs, 1
    return number, number + parts * outputs, parts


def _is_conv1d(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _disagreement(layer: LayerInfo, reason: str) -> SourceError:
    return SourceError(
        f"tensor {show(layer.tensor)} is taken for the layer {show(layer.name)}, but {reason}",
        hint="Leave it out with modules_to_not_convert.",
    )
