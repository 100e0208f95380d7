"""Measured figures in words, for the table and the page alike."""

from __future__ import annotations

from collections.abc import Callable

from quantize_lib.benchmark.records import Spread
from quantize_lib.text import format_bytes

MISSING = "–"


def seconds(value: float) -> str:
    """`12 ms`, `0.85 s`, `12.4 s`."""
    if value < 0.0995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.2f} s" if value < 9.95 else f"{value:.1f} s"


def rate(value: float) -> str:
    """Tokens a second: `8.4`, `132`."""
    return f"{value:.1f}" if value < 99.5 else f"{value:.0f}"


def times(value: float | None) -> str:
    """`2.34×`."""
    return MISSING if value is None else f"{value:.2f}×"


def median(spread: Spread | None, unit: Callable[[float], str]) -> str:
    """The median alone."""
    return MISSING if spread is None else unit(spread.median)


def between(spread: Spread | None, unit: Callable[[float], str]) -> str:
    """The median with the middle half of the runs: `12 ms (11 ms to 14 ms)`."""
    if spread is None:
        return MISSING
    if len(spread.values) == 1:
        return unit(spread.median)
    first, third = spread.quartiles
    return f"{unit(spread.median)} ({unit(first)} to {unit(third)})"


def size(value: float) -> str:
    """Bytes."""
    return format_bytes(value)
