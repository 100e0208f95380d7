"""Which arithmetic the calibration's products use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def calibration_arithmetic(device: torch.device) -> str:
    """`bfloat16` where calibration multiplies on the CPU's units for it (AMX, AVX-512), else `float32`."""
    return "bfloat16" if device.type == "cpu" and _has_bfloat16_units() else "float32"


def _has_bfloat16_units() -> bool:
    """Whether the CPU multiplies in bfloat16 faster than in float32: others take several times as long."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@contextmanager
def calibrating(device: torch.device) -> Iterator[None]:
    """For the forward of the calibration text, what is summed up about it, and what is compared by it.

    On a CPU with units for bfloat16, inside, blocks compute as models in bfloat16 do: linear layers and
    attention in bfloat16, norms and the residual stream in float32. A third (AMX) to a half (AVX-512) of the
    time, and no difference in what comes out (docs/explanation/accuracy.md). It holds for the thread that
    enters it. On CUDA, float32 products use TF32, whose factors hold every bfloat16 exactly. Rounding and
    measuring are done outside.
    """
    if device.type == "cuda":
        with _cuda_products("tf32"):
            yield
        return
    halved = calibration_arithmetic(device) == "bfloat16"
    # Weights change inside: none is to be kept as it was.
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=halved, cache_enabled=False):
        yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Inside `calibrating`, for what is to be in float32 as it is outside: rounding, say."""
    if device.type == "cuda":
        with _cuda_products("ieee"):
            yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def _cuda_products(precision: str) -> Iterator[None]:
    """How CUDA multiplies float32 matrices inside."""
    settings: Any = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = before


def factor_dtype(device: torch.device) -> torch.dtype:
    """What the factors of matrix products have here: bfloat16 inside `calibrating` on such a CPU."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32
