"""The run's result as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quantize_lib.metrics import METRICS
from quantize_lib.report.records import CellRecord
from quantize_lib.text import format_bytes, format_duration, plain

SHOWN = tuple(metric for metric in METRICS.values() if metric.column)
"""Metrics that tables have a column for."""
HEADS = ("cell", "status", "size", *(metric.column for metric in SHOWN), "time", "peak memory")
_MAX_REMARK = 2000


def summary_table(records: Iterable[CellRecord]) -> str:
    """An aligned table and, below it, errors and why some were not chosen.

    It is free of control characters, whatever a name holds.
    """
    records = tuple(records)
    rows = [HEADS, *(row(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = [_aligned(rows[0], widths), "  ".join("─" * width for width in widths)]
    lines += [_aligned(row, widths) for row in rows[1:]]
    said = ((record.id, record.remark) for record in records)
    lines += [f"{plain(name)}: {short(' '.join(remark))}" for name, remark in said if remark is not None]
    return "\n".join(lines)


def row(record: CellRecord) -> tuple[str, ...]:
    """A cell's row, in the order of `HEADS`; free of control characters."""
    measured = record.measurements
    if measured is None:
        return (plain(record.id), record.status, *[""] * (len(HEADS) - 2))
    return (
        plain(record.id),
        record.status,
        f"{format_bytes(measured.size_before)} → {format_bytes(measured.size_after)}",
        *(metric.cell(measured.figure(metric)) for metric in SHOWN),
        format_duration(measured.seconds),
        format_bytes(measured.peak_memory_bytes),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, figures to the right."""
    cells = [
        text.ljust(width) if column < 2 else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def short(text: str) -> str:
    """A remark on a cell, as one line that is not too long."""
    text = plain(text)
    return text if len(text) <= _MAX_REMARK else text[: _MAX_REMARK - 1] + "…"
