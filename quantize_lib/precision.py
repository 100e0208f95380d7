"""How finely a loaded checkpoint computes: what a format knows of its loaders, and tolerances depend on."""

from __future__ import annotations

from enum import Enum


class Precision(Enum):
    """Levels, the finest first."""

    FLOAT32 = "float32"
    """float32 throughout, where only the order of sums differs."""
    HALF = "half"
    """Rounding to 16 bits on the way: of every activation where a checkpoint is loaded in float16 or
    bfloat16, or of group scales and zeros in kernels that keep them so."""
    INT8_ACTIVATIONS = "int8_activations"
    """Activations are rounded to 8 bits too: an input's last bit can move a code by a whole step."""


def precision_of(dtype: str) -> Precision:
    """Of a model whose every step is in a dtype, as PyTorch calls it."""
    return Precision.FLOAT32 if dtype == "float32" else Precision.HALF
