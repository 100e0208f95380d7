"""What a text says of how quantized blocks changed an input, summed up batch by batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from quantize_lib.engine.base_states import kept_rows
from quantize_lib.engine.block import Drift
from quantize_lib.engine.finite import is_finite
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.engine.second_moment import add_cross_product


class DriftSums:
    """Of one input, x in the base model and z in the quantized one.

    Args:
        width: of the input.
        scale: what it is divided by in the quantized model, float32 (in,); None for nothing.
        outputs: of each layer that reads the input and adds to the residual stream, how many it has.
    """

    def __init__(
        self, width: int, scale: Tensor | None, outputs: Mapping[str, int], device: torch.device
    ) -> None:
        self._scale = scale
        self._change = torch.zeros(width, width, device=device)
        self._missing = {name: torch.zeros(rows, width, device=device) for name, rows in outputs.items()}
        self._tokens = 0
        self._changed = False

    def add(self, original: Tensor, carried: Tensor, missing: Mapping[str, Tensor]) -> None:
        """Add tokens.

        Args:
            original: in the base model, bfloat16 (tokens, in).
            carried: in the quantized one, as the layer gets it.
            missing: by layer, what the residual stream lacks before it adds, float32 (tokens, out).
        """
        kept = kept_rows(carried)
        change = original - (kept if self._scale is None else kept.float() * self._scale)
        # That takes as long as a product: with most text the first tokens say it.
        self._changed = self._changed or any(bool(one.any()) for one in (change, *missing.values()))
        dtype = factor_dtype(kept.device)
        kept = kept.to(dtype)
        add_cross_product(self._change, change.to(dtype), kept)
        for name, lacking in missing.items():
            add_cross_product(self._missing[name], lacking.to(dtype), kept)
        self._tokens += len(kept)

    def finish(self) -> Drift | None:
        """Their means; the sums are gone afterwards. None where nothing changed, or is not finite."""
        if not self._changed:
            return None
        for sums in (self._change, *self._missing.values()):
            sums.div_(self._tokens)
            if self._scale is not None:
                sums.mul_(self._scale)
            if not is_finite(sums):
                return None
        return Drift(change=self._change, missing=self._missing)
