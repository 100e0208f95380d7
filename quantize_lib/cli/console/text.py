"""How counts, rates and durations are written."""

from __future__ import annotations

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def format_bytes(count: float) -> str:
    """Decimal, as disks and the Hub write it: `269.1 MB`."""
    for unit in _BYTE_UNITS[:-1]:
        if abs(count) < 999.95:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_BYTE_UNITS[-1]}"


def format_duration(seconds: float) -> str:
    """`8 s`, `2 min 05 s`, `1 h 04 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


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
