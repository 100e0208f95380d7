"""The card's table of the other checkpoints of its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quantize_lib.card.escape import Safe
from quantize_lib.metrics.uncertain import cell_with_error
from quantize_lib.pictures.picture import Picture
from quantize_lib.report.comparison import best_cells, best_rule, by_model, leading_metric, proven_figures
from quantize_lib.report.drawings import quality_picture
from quantize_lib.report.records import CellRecord
from quantize_lib.report.tables import SHOWN
from quantize_lib.text import format_bytes, markdown


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Checkpoints of a model beside each other.

    Attributes:
        heads: of the columns after the name and the size.
        rows: name and figures, the smallest checkpoint first.
        rule: by which some are best at their size; None where nothing was measured.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rule: str | None


def quality_beside(record: CellRecord, siblings: Sequence[CellRecord]) -> Picture | None:
    """Quality against size of a cell and the others of its model; None where fewer than two were measured."""
    records = [_as_published(record), *siblings]
    leading = leading_metric(records)
    if leading is None:
        return None
    return quality_picture("quality", records, leading, best_cells(records, leading))


def beside(record: CellRecord, siblings: Sequence[CellRecord]) -> Beside | None:
    """The table of a cell and the other ones of its model; None where there are no others."""
    if not siblings:
        return None
    records = [_as_published(record), *siblings]
    leading = leading_metric(records)
    best = best_cells(records, leading)
    measured = [metric for metric in SHOWN if any(metric.name in proven_figures(one) for one in records)]
    rows = []
    for one in (one for found in by_model(records).values() for one in found):
        assert one.measurements is not None
        proven, own = proven_figures(one), one.measurements
        figures = (
            cell_with_error(metric, own.figure(metric)) if metric.name in proven else ""
            for metric in measured
        )
        name = Safe("**this one**") if one.id == record.id else _name(one)
        marked = Safe(f"{name} (best)") if one.id in best else name
        rows.append((marked, format_bytes(own.size_after), *figures))
    return Beside(
        heads=tuple(metric.title for metric in measured),
        rows=tuple(rows),
        rule=None if leading is None else best_rule(leading),
    )


def _as_published(record: CellRecord) -> CellRecord:
    """The cell as the readers of its card know it: a card is read where it was published."""
    return replace(record, status="built")


def _name(record: CellRecord) -> Safe:
    name = markdown(record.repository or record.id)
    if record.status == "gated":
        return Safe(f"{name}, not published: it missed its limits")
    return Safe(name if record.url is None else f"[{name}]({record.url})")
