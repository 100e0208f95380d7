"""The card's table of measured figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from quantize_lib.report.records import CellRecord, Measurements
from quantize_lib.text import format_bytes, format_duration

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
    rows = [_row("Weights on disk", format_bytes(measured.size_before), _smaller(measured))]
    if is_proven(measured):
        before, after = measured.perplexity_before, measured.perplexity_after
        if _is_figure(before) and _is_figure(after):
            rows.append(_row("Perplexity", f"{before:.2f}", f"{after:.2f} ({after / before - 1:+.1%})"))
        if measured.kl_divergence is not None and math.isfinite(measured.kl_divergence):
            rows.append(_row("KL divergence, nats per token", _NONE, f"{measured.kl_divergence:.4f}"))
    if measured.reload is not None:
        dtype = measured.reload.dtype
        rows.append(_row(f"Time to load ({dtype})", _NONE, format_duration(measured.reload.load_seconds)))
        rows.append(
            _row(f"Peak memory, loaded ({dtype})", _NONE, format_bytes(measured.reload.peak_memory_bytes))
        )
    rows.append(_row("Time to quantize", _NONE, format_duration(measured.seconds)))
    rows.append(_row("Peak memory, quantizing", _NONE, format_bytes(measured.peak_memory_bytes)))
    return tuple(rows)


def is_proven(measured: Measurements) -> bool:
    """Whether the figures of the pass count: only after the reload from disk reproduced them."""
    return measured.reload is not None and measured.reload.reproduced


def _is_figure(perplexity: float | None) -> TypeGuard[float]:
    return perplexity is not None and math.isfinite(perplexity) and perplexity > 0


def _smaller(measured: Measurements) -> str:
    share = f" ({measured.size_after / measured.size_before:.0%})" if measured.size_before else ""
    return format_bytes(measured.size_after) + share


def _row(name: str, before: str, after: str) -> Figure:
    return Figure(name=name, before=before, after=after)
