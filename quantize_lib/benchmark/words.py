"""Measured figures in words, for the table and the page alike."""

from __future__ import annotations

from collections.abc import Callable

from quantize_lib.benchmark.records import Spread
from quantize_lib.text import format_bytes, format_duration

MISSING = "–"
_BUSY = 0.5
"""Of the cores, above which others take part of them."""


def seconds(value: float) -> str:
    """Three digits: `8.10 ms`, `12.3 ms`, `850 ms`, `1.25 s`, `12.4 s`."""
    if value < 0.9995:
        return f"{_three(value * 1000)} ms"
    return f"{_three(value)} s" if value < 999.5 else format_duration(value)


def rate(value: float) -> str:
    """Tokens a second, three digits: `0.17`, `8.42`, `132`."""
    return _three(value)


def times(value: float | None) -> str:
    """`2.34×`."""
    return MISSING if value is None else f"{value:.2f}×"


def smaller(value: float | None) -> str:
    """`2.34× smaller`, or `1.20× larger`; nothing where it is not known."""
    if value is None:
        return ""
    return f"{times(value)} smaller" if value >= 1 else f"{times(1 / value)} larger"


def median(spread: Spread | None, unit: Callable[[float], str]) -> str:
    """The median alone."""
    return MISSING if spread is None else unit(spread.median)


def between(spread: Spread | None, unit: Callable[[float], str]) -> str:
    """The median with the middle half of the runs, `12.3 ms (11.0 to 14.2)`; alone where that is no more."""
    if spread is None:
        return MISSING
    low, high = spread.quartiles
    first, middle, third = unit(low), unit(spread.median), unit(high)
    if first == middle == third:
        return middle
    names = {words.partition(" ")[2] for words in (first, middle, third)}
    if len(names) == 1:
        # All in one unit, which is said once.
        first, third = first.partition(" ")[0], third.partition(" ")[0]
    return f"{middle} ({first} to {third})"


def busy_words(load_average: float | None, cores: int) -> str | None:
    """That others computed on this machine, too, as its load says; None where none did.

    Args:
        load_average: of the minute before.
    """
    if load_average is None or load_average < _BUSY * cores:
        return None
    return (
        f"Its load was {load_average:.1f} on {cores} cores when this began: the times are longer than they "
        "would be, and spread more."
    )


def size(value: float) -> str:
    """Bytes."""
    return format_bytes(value)


def _three(value: float) -> str:
    """Three digits, none of them an exponent's."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
