"""The run's result as a table: plain text for the terminal, Markdown for a step summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quantize_lib.metrics import METRICS
from quantize_lib.report.records import CellRecord
from quantize_lib.text import format_bytes, format_duration, markdown, plain

_SHOWN = tuple(metric for metric in METRICS.values() if metric.column)
_COLUMNS = tuple(metric.column for metric in _SHOWN)
_HEADS = ("cell", "status", "size", *_COLUMNS, "time", "peak memory")
_MAX_SUMMARY_BYTES = 2**20
"""What GitHub takes of a step summary; it drops a larger one whole."""
_MAX_ERROR = 2000
_CUT = "\n\n… and more in `report.json`: a step summary holds at most 1 MiB.\n"


def summary_table(records: Iterable[CellRecord]) -> str:
    """An aligned table and, below it, errors and why some were not chosen.

    It is free of control characters, whatever a name holds.
    """
    records = tuple(records)
    rows = [_HEADS, *(_row(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [_aligned(rows[0], widths), "  ".join("─" * width for width in widths)]
    lines += [_aligned(row, widths) for row in rows[1:]]
    lines += [f"{plain(record.id)}: {text}" for record, text in _remarks(records)]
    return "\n".join(lines)


def summary_markdown(records: Iterable[CellRecord]) -> str:
    """The same for `$GITHUB_STEP_SUMMARY`: escaped, at most 1 MiB of UTF-8."""
    records = tuple(records)
    lines = ["| " + " | ".join(_HEADS) + " |", "| --- | --- |" + " ---: |" * (len(_HEADS) - 2)]
    lines += ["| " + " | ".join(_linked(record)) + " |" for record in records]
    remarks = _remarks(records)
    if remarks:
        lines.append("")
        lines += [f"- **{markdown(record.id)}**: {markdown(text)}" for record, text in remarks]
    return _limited("\n".join(lines) + "\n")


def _linked(record: CellRecord) -> list[str]:
    """The row in Markdown; its status leads to what is published."""
    cells = [markdown(cell) for cell in _row(record)]
    if record.url is not None:
        cells[1] = f"[{cells[1]}]({record.url})"
    return cells


def _row(record: CellRecord) -> tuple[str, ...]:
    measured = record.measurements
    if measured is None:
        return (plain(record.id), record.status, *[""] * (len(_HEADS) - 2))
    return (
        plain(record.id),
        record.status,
        f"{format_bytes(measured.size_before)} → {format_bytes(measured.size_after)}",
        *(metric.cell(measured.figure(metric)) for metric in _SHOWN),
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


def _remarks(records: Iterable[CellRecord]) -> list[tuple[CellRecord, str]]:
    """What is to be said of single cells."""
    said = [(record, record.not_chosen if record.error is None else record.error) for record in records]
    return [(record, _short(text)) for record, text in said if text is not None]


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _MAX_ERROR else text[: _MAX_ERROR - 1] + "…"


def _limited(text: str) -> str:
    data = text.encode()
    if len(data) <= _MAX_SUMMARY_BYTES:
        return text
    room = _MAX_SUMMARY_BYTES - len(_CUT.encode())
    # At a line's end, so that no escape or table row is cut in two.
    return data[: data.rindex(b"\n", 0, room)].decode() + _CUT
