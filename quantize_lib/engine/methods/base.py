"""What every rounding method offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from quantize_lib.engine.block import BlockInput, BlockOutput, CellContext
from quantize_lib.methods.settings import Settings


class Method(ABC):
    """A rounding method: a pure function of one block, and the words for the loaders."""

    needs_statistics: ClassVar[bool]
    """Whether calibration is run for it at all."""
    uses_folds: ClassVar[bool] = False
    """Whether it scales inputs, so that folds have to be found."""

    @abstractmethod
    def quantize(self, block: BlockInput, settings: Settings) -> BlockOutput:
        """Quantize one block.

        Raises:
            EngineError: where a layer cannot be quantized, naming the layer and the reason.
        """

    @abstractmethod
    def quantization_config(self, context: CellContext) -> dict[str, Any]:
        """The `quantization_config` of the checkpoint's config.json, as plain transformers loads it."""
