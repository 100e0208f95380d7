"""Which arithmetic the calibration's products use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def calibration_arithmetic(device: torch.device) -> str:
    """`bfloat16` where calibration multiplies on the CPU's matrix units (AMX), else `float32`."""
    units = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return "bfloat16" if units else "float32"


@contextmanager
def calibrating(device: torch.device) -> Iterator[None]:
    """For the forward of the calibration text, what is summed up about it, and what is compared by it.

    On a CPU with AMX, inside, blocks compute as models in bfloat16 do: linear layers and attention in
    bfloat16, norms and the residual stream in float32. A third of the time, and no difference in what comes
    out (docs/explanation/accuracy.md). It holds for the thread that enters it. On CUDA, float32 products use
    TF32, whose factors hold every bfloat16 exactly. Rounding and measuring are done outside.
    """
    if device.type == "cuda":
        settings: Any = torch.backends.cuda.matmul
        before = settings.fp32_precision
        settings.fp32_precision = "tf32"
        try:
            yield
        finally:
            settings.fp32_precision = before
        return
    halved = calibration_arithmetic(device) == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=halved):
        yield


def factor_dtype(device: torch.device) -> torch.dtype:
    """What the factors of matrix products have here: bfloat16 inside `calibrating` on a CPU with AMX."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32
