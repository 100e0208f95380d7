"""Which arithmetic the calibration's products use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch


def calibration_arithmetic(device: torch.device) -> str:
    """`bfloat16` where calibration multiplies on the CPU's matrix units (AMX), else `float32`."""
    units = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return "bfloat16" if units else "float32"


@contextmanager
def calibrating(device: torch.device) -> Iterator[None]:
    """For the forward of the calibration text and what is summed up about it.

    On a CPU with AMX the block computes as models in bfloat16 do: linear layers and attention in bfloat16,
    norms and the residual stream in float32. Half the time of bfloat16 products alone, and no difference in
    what comes out (docs/accuracy.md). Elsewhere as in `fast_products`. Rounding and measuring are not inside.
    """
    halved = calibration_arithmetic(device) == "bfloat16"
    with fast_products(device), torch.autocast(device.type, dtype=torch.bfloat16, enabled=halved):
        yield


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Inside, float32 matrix products are done by the fastest units that serve for calibration.

    On a CPU with AMX their factors are rounded to bfloat16 and the sums kept in float32: 4 times the rate. On
    CUDA, TF32: its factors hold every bfloat16 exactly.
    """
    settings: Any
    if device.type == "cuda":
        settings, precision = torch.backends.cuda.matmul, "tf32"
    elif calibration_arithmetic(device) == "bfloat16":
        # Made at import time, where mypy does not see it.
        settings, precision = cast(Any, torch.backends.mkldnn).matmul, "bf16"
    else:
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = before
