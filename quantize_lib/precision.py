"""How finely a loaded checkpoint computes: what a format knows of its loaders, and tolerances depend on."""

from __future__ import annotations

from enum import Enum


class Precision(Enum):
    """Levels, the finest first.

    Attributes:
        meaning: for the documents.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Precision:
        """A member with its value."""
        member = object.__new__(cls)
        member._value_ = value
        member.meaning = meaning
        return member

    # Only the order of sums differs.
    FLOAT32 = "float32", "float32 throughout"
    # Of every activation, or of group scales and zeros alone.
    HALF = "half", "16 bits on the way: float16, bfloat16, or kernels that keep scales so"
    # An input's last bit can move a code by a whole step.
    ROUNDED_INPUTS = "int8_activations", "activations rounded to 8 bits too"


def precision_of(dtype: str) -> Precision:
    """Of a model whose every step is in a dtype, as PyTorch calls it."""
    return Precision.FLOAT32 if dtype == "float32" else Precision.HALF
