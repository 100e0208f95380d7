"""Rounds what choices are tried on, as their trial says, whatever the cells' own settings are."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, RoundedBlock
from quantize_lib.engine.methods.base import rounder_of
from quantize_lib.engine.outside import rounded_outside
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.trial import Trial
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import NOMINAL_BITS


class TrialRounder:
    """The trial's method, with its defaults and the format's grid.

    Attributes:
        dtype: of unquantized tensors on disk.
    """

    def __init__(self, trial: Trial, dtype: torch.dtype) -> None:
        self.trial = trial
        self.dtype = dtype
        self._settings = Settings(method=trial.method, bits=NOMINAL_BITS)
        self._rounder = rounder_of(get_method(trial.method))

    def round(self, given: BlockInput) -> RoundedBlock:
        """All layers of a block's part.

        Raises:
            EngineError: where a layer cannot be rounded.
        """
        return self._rounder.round(given, self._settings, self.trial.grid)

    def round_outside(self, name: str, tensor: Tensor, kind: str) -> RoundedLayer:
        """A matrix outside the blocks, or rows of it, as `rounded_outside`."""
        return rounded_outside(
            name,
            tensor,
            kind,
            rounder=self._rounder,
            settings=self._settings,
            grid=self.trial.grid,
            dtype=self.dtype,
        )
