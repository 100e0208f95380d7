"""What a method hands to a format: one linear layer, rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a format asks of the codes, and the cell's settings of the method.

    Attributes:
        symmetric: whether all zero points are in the middle, 2**(bits - 1).
        lowest_zero: the smallest zero point that the format can hold, where they are not in the middle.
        reordered: whether groups follow the order of rounding.
    """

    symmetric: bool
    lowest_zero: int = 0
    reordered: bool = False


@dataclass(frozen=True, kw_only=True)
class Codes:
    """Whole numbers on a grid: a weight is (code - zero) * scale.

    Attributes:
        bits: 2, 3, 4 or 8.
        values: uint8 (out, in), 0 .. 2**bits - 1.
        zeros: whole numbers (out, groups).
        scales: float16 numbers (out, groups), each exact in bfloat16 too; of either sign.
        group_of: int64 (in,), the group of each input; None for groups of consecutive inputs.
    """

    bits: int
    values: Tensor
    zeros: Tensor
    scales: Tensor
    group_of: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Floats:
    """Small floating-point numbers with scales: a weight is number * scale / whole.

    Attributes:
        values: float8_e4m3fn (out, in); or uint8 (out, in), 0 .. 15, the bits of E2M1 numbers.
        scales: float32 (out, groups) for groups of consecutive inputs, or (row blocks, column blocks).
        whole: float32 (1,), what all scales are divided by; None for nothing.
    """

    values: Tensor
    scales: Tensor
    whole: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class InputRounding:
    """How loaders round the inputs of quantized layers, each time: to E4M3, by the largest size.

    Attributes:
        group: how many neighbouring inputs of a token share a scale; None for all.
    """

    group: int | None


@dataclass(frozen=True, kw_only=True)
class RoundedLayer:
    """One linear layer as a method rounded it.

    Attributes:
        weight: float32 (out, in), exactly what the codes, floats or parts mean.
        codes: of a method whose result is a grid.
        floats: of a method whose result is small floating-point numbers.
        parts: tensors by name, of a method whose own library stores them.
        bias: float32 (out,), or None.
    """

    weight: Tensor
    codes: Codes | None = None
    floats: Floats | None = None
    parts: Mapping[str, Tensor] | None = None
    bias: Tensor | None = None
