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
    """Inside, float32 matrix products are done by the fastest units that serve for calibration.

    On a CPU with AMX their factors are rounded to bfloat16 and the sums kept in float32: 4 times the rate,
    and no difference in what comes out (docs/accuracy.md). On CUDA, TF32: its factors hold every bfloat16
    exactly. Everything else (norms, softmax, residuals) stays as it is, and so do rounding and measuring,
    which are done outside.
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
