"""What every rounding method offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping

from torch import Tensor

from quantize_lib.engine.block import BlockInput, Drift, RoundedBlock
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Method, Settings
from quantize_lib.registry import load


class Rounding(ABC):
    """One block on its way.

    Attributes:
        params: as `RoundedBlock.params`; known before any layer is rounded.
        scales: by layer what its input is divided by, float32 (in,); of the layers that have any.
    """

    params: Mapping[str, Tensor] = {}
    scales: Mapping[str, Tensor] = {}

    @abstractmethod
    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        """Round some layers that read one input, or all; without `params`.

        Args:
            names: of layers of the block.
            drift: how quantized blocks changed the input of these layers, which are to make up for it.

        Raises:
            EngineError: where a layer cannot be quantized, naming the layer and the reason.
        """


class Rounder(ABC):
    """The engine's part of a method: a pure function of one block."""

    @abstractmethod
    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See that a block can be rounded, and choose what concerns several of its layers.

        Args:
            grid: what the format asks of the codes.

        Raises:
            EngineError: where a layer cannot be quantized, naming the layer and the reason.
        """

    def round(self, block: BlockInput, settings: Settings, grid: Grid) -> RoundedBlock:
        """Round all layers of a block at once; as `begin`."""
        rounding = self.begin(block, settings, grid)
        return gathered(block, rounding.params, [rounding.round(block.linears)])


def gathered(block: BlockInput, params: Mapping[str, Tensor], pieces: Iterable[RoundedBlock]) -> RoundedBlock:
    """A block of what was made of its layers bit by bit, in the model's order."""
    found = list(pieces)
    layers = {name: layer for piece in found for name, layer in piece.layers.items()}
    modules = {name: module for piece in found for name, module in piece.modules.items()}
    errors = {name: error for piece in found for name, error in piece.errors.items()}
    return RoundedBlock(
        layers={name: layers[name] for name in block.linears},
        params=params,
        modules=modules,
        errors={name: errors[name] for name in block.linears if name in errors},
        notes=tuple(note for piece in found for note in piece.notes),
    )


def rounder_of(method: Method) -> Rounder:
    """The engine's part of a method, imported at its first use."""
    make: Callable[[], Rounder] = load(method.rounder)
    return make()
