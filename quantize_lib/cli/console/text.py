"""How counts, rates and durations are written."""

from __future__ import annotations

from quantize_lib.text import format_bytes


def format_done(done: int, total: int, unit: str) -> str:
    """`12/30 blocks`, `12.0 MB of 269.1 MB` for the unit `B`."""
    if unit == "B":
        return f"{format_bytes(done)} of {format_bytes(total)}"
    return f"{done}/{total} {unit}{'' if total == 1 else 's'}"


def format_rate(done: int, seconds: float, unit: str) -> str:
    """`3.1 blocks/s`, `2.4 s/block` where one takes longer than a second; empty before the first."""
    if done <= 0 or seconds <= 0:
        return ""
    if unit == "B":
        return f"{format_bytes(done / seconds)}/s"
    if done >= seconds:
        return f"{done / seconds:.1f} {unit}s/s"
    return f"{seconds / done:.1f} s/{unit}"
