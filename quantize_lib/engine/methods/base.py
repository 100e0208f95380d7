"""What every rounding method offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from quantize_lib.engine.block import BlockInput, RoundedBlock
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Method, Settings
from quantize_lib.registry import load


class Rounder(ABC):
    """The engine's part of a method: a pure function of one block."""

    @abstractmethod
    def round(self, block: BlockInput, settings: Settings, grid: Grid) -> RoundedBlock:
        """Round the layers of one block.

        Args:
            grid: what the format asks of the codes.

        Raises:
            EngineError: where a layer cannot be quantized, naming the layer and the reason.
        """


def rounder_of(method: Method) -> Rounder:
    """The engine's part of a method, imported at its first use."""
    make: Callable[[], Rounder] = load(method.rounder)
    return make()
