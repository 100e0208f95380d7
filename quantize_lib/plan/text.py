"""Figures for people."""

from __future__ import annotations


def human_bytes(count: int) -> str:
    """`94.2 MB`, in powers of 1000 as disks and the Hub count."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
