"""The card's table of measured figures."""

from __future__ import annotations

from collections.abc import Iterable

from quantize_lib.metrics import METRICS, NONE, Metric, Row
from quantize_lib.report.records import CellRecord, Measurements
from quantize_lib.text import format_bytes, format_duration


def figures(record: CellRecord) -> tuple[Row, ...]:
    """What was measured, and nothing else: a figure that is missing has no row."""
    measured = record.measurements
    if measured is None:
        return ()
    rows = [Row("Weights on disk", format_bytes(measured.size_before), _smaller(measured))]
    if is_proven(measured):
        shown = (metric.row(measured.figure(metric)) for metric in METRICS.values())
        rows += [row for row in shown if row is not None]
    if measured.reload is not None:
        dtype = measured.reload.dtype
        rows.append(Row(f"Time to load ({dtype})", NONE, format_duration(measured.reload.load_seconds)))
        rows.append(
            Row(f"Peak memory, loaded ({dtype})", NONE, format_bytes(measured.reload.peak_memory_bytes))
        )
    rows.append(Row("Time to quantize", NONE, format_duration(measured.seconds)))
    rows.append(Row("Peak memory, quantizing", NONE, format_bytes(measured.peak_memory_bytes)))
    return tuple(rows)


def is_proven(measured: Measurements) -> bool:
    """Whether the figures of the pass count: only after the reload from disk reproduced them."""
    return measured.reload is not None and measured.reload.reproduced


def measured_words(measured: Measurements) -> str:
    """The metrics that there are figures of, as a sentence begins with them."""
    return _sentence(metric for metric in METRICS.values() if metric.name in measured.figures)


def all_words() -> str:
    """All metrics, as a sentence begins with them."""
    return _sentence(METRICS.values(), details=False)


def _sentence(metrics: Iterable[Metric], *, details: bool = True) -> str:
    names = [f"{one.title} {one.detail}".rstrip() if details else one.title for one in metrics]
    text = " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), *names[-1:]])
    return text[:1].upper() + text[1:]


def _smaller(measured: Measurements) -> str:
    share = f" ({measured.size_after / measured.size_before:.0%})" if measured.size_before else ""
    return format_bytes(measured.size_after) + share
