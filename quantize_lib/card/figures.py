"""The card's table of measured figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from quantize_lib.types import CellRecord, Measurements

_NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row: what it is, of the base model, of the checkpoint."""

    name: str
    before: str
    after: str


def figures(record: CellRecord) -> tuple[Figure, ...]:
    """What was measured, and nothing else: a figure that is missing has no row."""
    measured = record.measurements
    if measured is None:
        return ()
    rows = [_row("Weights on disk", size(measured.size_before), _smaller(measured))]
    if is_proven(measured):
        before, after = measured.perplexity_before, measured.perplexity_after
        if _is_figure(before) and _is_figure(after):
            rows.append(_row("Perplexity", f"{before:.2f}", f"{after:.2f} ({after / before - 1:+.1%})"))
        if measured.kl_divergence is not None and math.isfinite(measured.kl_divergence):
            rows.append(_row("KL divergence, nats per token", _NONE, f"{measured.kl_divergence:.4f}"))
    if measured.reload is not None:
        dtype = measured.reload.dtype
        rows.append(_row(f"Time to load ({dtype})", _NONE, duration(measured.reload.load_seconds)))
        rows.append(_row(f"Peak memory, loaded ({dtype})", _NONE, size(measured.reload.peak_memory_bytes)))
    rows.append(_row("Time to quantize", _NONE, duration(measured.seconds)))
    rows.append(_row("Peak memory, quantizing", _NONE, size(measured.peak_memory_bytes)))
    return tuple(rows)


def is_proven(measured: Measurements) -> bool:
    """Whether the figures of the pass count: only after the reload from disk reproduced them."""
    return measured.reload is not None and measured.reload.reproduced


def size(count: int) -> str:
    """Bytes for people, in powers of ten as the Hub shows them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB" if value < 999.5 else f"{value:.0f} GB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _is_figure(perplexity: float | None) -> TypeGuard[float]:
    return perplexity is not None and math.isfinite(perplexity) and perplexity > 0


def _smaller(measured: Measurements) -> str:
    share = f" ({measured.size_after / measured.size_before:.0%})" if measured.size_before else ""
    return size(measured.size_after) + share


def _row(name: str, before: str, after: str) -> Figure:
    return Figure(name=name, before=before, after=after)
