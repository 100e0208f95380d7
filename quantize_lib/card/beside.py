"""The card's table of the other checkpoints of its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quantize_lib.card.escape import Safe, code
from quantize_lib.job.records import BuildFigures
from quantize_lib.metrics import Figure
from quantize_lib.metrics.uncertain import cell_with_error
from quantize_lib.pictures.picture import Picture
from quantize_lib.report.comparison import best_cells, best_rule, by_model, leading_metric, proven_figures
from quantize_lib.report.drawings import quality_picture
from quantize_lib.report.other_builds import BY_OTHERS, differences, faults, hub_page, other_builds
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
    apart: tuple[tuple[Safe, str], ...] = ()
    """For each build by others its name, and how far this cell is from it."""
    faults: tuple[tuple[Safe, str], ...] = ()
    """Builds by others that could not be measured, and why."""


def quality_beside(record: CellRecord, siblings: Sequence[CellRecord]) -> Picture | None:
    """Quality against size of a cell and the others of its model; None where fewer than two were measured."""
    records = [_as_published(record), *siblings]
    leading = leading_metric(records)
    if leading is None:
        return None
    return quality_picture("quality", records, leading, best_cells(records, leading))


def beside(record: CellRecord, siblings: Sequence[CellRecord]) -> Beside | None:
    """The table of a cell, the other ones of its model and other builds; None where there are no others."""
    builds = other_builds([record]) if proven_figures(record) else {}
    failed = faults([record])
    if not siblings and not builds and not failed:
        return None
    records = [_as_published(record), *siblings]
    leading = leading_metric(records)
    best = best_cells(records, leading)
    measured = [metric for metric in SHOWN if any(metric.name in proven_figures(one) for one in records)]
    rows: list[tuple[int, tuple[str, ...]]] = []
    for one in (one for found in by_model(records).values() for one in found):
        assert one.measurements is not None
        proven, own = proven_figures(one), one.measurements
        figures = (
            cell_with_error(metric, own.figure(metric)) if metric.name in proven else ""
            for metric in measured
        )
        name = Safe("**this one**") if one.id == record.id else _name(one)
        marked = Safe(f"{name} (best)") if one.id in best else name
        rows.append((own.size_after, (marked, format_bytes(own.size_after), *figures)))
    for build_name, build in builds.items():
        marked = Safe(f"{_build_name(build_name, build)}, {BY_OTHERS}")
        figures = (cell_with_error(metric, build.figures.get(metric.name, Figure())) for metric in measured)
        rows.append((build.size, (marked, format_bytes(build.size), *figures)))
    apart = () if leading is None or not builds else differences(record, leading)
    return Beside(
        heads=tuple(metric.title for metric in measured),
        rows=tuple(row for _, row in sorted(rows, key=lambda one: one[0])),
        rule=None if leading is None else best_rule(leading),
        apart=tuple((_build_name(name, builds[name]), text) for name, text in apart),
        faults=tuple((code(name), why) for name, why in failed.items()),
    )


def _as_published(record: CellRecord) -> CellRecord:
    """The cell as the readers of its card know it: a card is read where it was published."""
    return replace(record, status="built")


def _build_name(name: str, build: BuildFigures) -> Safe:
    page = hub_page(name, build)
    return code(name) if page is None else Safe(f"[{markdown(name)}]({page})")


def _name(record: CellRecord) -> Safe:
    name = markdown(record.shown)
    if record.status == "gated":
        return Safe(f"{name}, not published: it missed its limits")
    return Safe(name if record.url is None else f"[{name}]({record.url})")
