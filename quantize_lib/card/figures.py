"""The card's table of measured figures."""

from __future__ import annotations

from quantize_lib.metrics import MEANS, METRICS, NONE, Row, listed, number
from quantize_lib.report.records import CellRecord, Measurements, TextFigures
from quantize_lib.text import format_bytes, format_duration


def figures(record: CellRecord) -> tuple[Row, ...]:
    """What was measured, and nothing else: a figure that is missing has no row."""
    measured = record.measurements
    if measured is None:
        return ()
    rows = [Row("Weights on disk", format_bytes(measured.size_before), _smaller(measured))]
    if measured.proven:
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


def further_figures(measured: Measurements) -> tuple[tuple[str, TextFigures, tuple[Row, ...]], ...]:
    """For each further held-out text its name, the text, and the rows of what was measured on it."""
    return tuple(
        (
            name,
            one,
            tuple(
                row
                for metric in METRICS.values()
                if (row := metric.row(measured.figure(metric, name))) is not None
            ),
        )
        for name, one in measured.texts.items()
    )


def has_errors(measured: Measurements) -> bool:
    """Whether a figure has a standard error, which the table shows."""
    return any(figure.standard_error is not None for figure in measured.figures.values())


def measured_words(measured: Measurements) -> str:
    """The metrics that there are figures of, as a sentence begins with them; without quantiles."""
    return _capital(listed((one for one in MEANS.values() if one.name in measured.figures), details=True))


def all_words() -> str:
    """All metrics with values of their own, as a sentence begins with them."""
    return _capital(listed(MEANS.values()))


def unrounded_words(measured: Measurements) -> str | None:
    """The figures of both ways of loading, where one leaves inputs as they are that the other rounds."""
    reload = measured.reload
    if reload is None:
        return None
    both = [
        f"{metric.title} {number(other)} instead of {number(reload.sample[name].reloaded)}"
        for name, other in reload.unrounded_inputs.items()
        if name in reload.sample
        for metric in (MEANS[name],)
    ]
    return f"{', '.join(both)}, on {reload.sample_tokens} tokens of the same text" if both else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _smaller(measured: Measurements) -> str:
    share = f" ({measured.size_after / measured.size_before:.0%})" if measured.size_before else ""
    return format_bytes(measured.size_after) + share
