"""What a text says of how quantized blocks changed an input, summed up batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.base_states import kept_rows
from quantize_lib.engine.block import Drift
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.engine.second_moment import add_product, mirrored


class DriftSums:
    """Of one input, x in the base model and z in the quantized one.

    Args:
        width: of the input.
        scale: what it is divided by in the quantized model, float32 (in,); None for nothing.
        outputs: of each layer that reads the input and adds to the residual stream, how many it has.
    """

    def __init__(
        self, width: int, scale: Tensor | None, outputs: dict[str, int], device: torch.device
    ) -> None:
        self._scale = scale
        self._moment = torch.zeros(width, width, device=device)
        self._change = torch.zeros(width, width, device=device)
        self._missing = {name: torch.zeros(rows, width, device=device) for name, rows in outputs.items()}
        self._tokens = 0
        self._changed = False

    def add(self, original: Tensor, carried: Tensor, missing: dict[str, Tensor]) -> None:
        """Add tokens.

        Args:
            original: in the base model, bfloat16 (tokens, in).
            carried: in the quantized one, as the layer gets it.
            missing: by layer, what the residual stream lacks before it adds, float32 (tokens, out).
        """
        kept = kept_rows(carried)
        change = original - (kept if self._scale is None else kept.float() * self._scale)
        self._changed |= bool(change.any()) or any(bool(lacking.any()) for lacking in missing.values())
        dtype = factor_dtype(kept.device)
        kept, change = kept.to(dtype), change.to(dtype)
        add_product(self._moment, kept)
        self._change += change.T @ kept
        for name, lacking in missing.items():
            self._missing[name] += lacking.to(dtype).T @ kept
        self._tokens += len(kept)

    def finish(self, hessian: Tensor) -> Drift | None:
        """Their means; the sums are gone afterwards. None where nothing changed, or is not finite.

        Args:
            hessian: float32 (in, in), second moment of the base's input.
        """
        if not self._changed:
            return None
        # By the sum that a divided input has, each column of it once; of both inputs of the moment one more.
        for sums in (mirrored(self._moment), self._change, *self._missing.values()):
            sums.div_(self._tokens)
            if self._scale is not None:
                sums.mul_(self._scale)
        if self._scale is not None:
            self._moment.mul_(self._scale[:, None])
        drift = Drift(metric=self._moment.add_(hessian).div_(2), change=self._change, missing=self._missing)
        return drift if drift.is_finite() else None
