"""`report.html`: what `report.json` says, for people, in one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from quantize_lib.job.records import BuildFigures
from quantize_lib.metrics import Figure, Metric
from quantize_lib.metrics.uncertain import cell_with_error
from quantize_lib.pages import render_page
from quantize_lib.pictures.picture import Picture
from quantize_lib.report.comparison import best_cells, best_rule, by_model, leading_metric, proven_figures
from quantize_lib.report.drawings import cost_picture, layers_picture, quality_picture
from quantize_lib.report.other_builds import RULE, faults, hub_page, other_builds
from quantize_lib.report.records import CARD_FILE, CellRecord, CellStatus
from quantize_lib.report.tables import SHOWN
from quantize_lib.report.task_table import task_table
from quantize_lib.text import format_bytes, format_duration

PAGE_FILE = "report.html"
_TEMPLATE = Path(__file__).with_name("page.html.j2")
_KINDS: Mapping[CellStatus, str] = {
    "published": "good",
    "built": "good",
    "skipped": "",
    "gated": "warn",
    "failed": "bad",
}
_WORST_LAYERS = 5
_MOST_PICTURED = 20
"""Models that get pictures: a page of hundreds would take minutes, and no browser would show it at once."""


@dataclass(frozen=True, kw_only=True)
class PageHead:
    """What the page says of the run.

    Attributes:
        started, finished: with a time zone.
        command: the command line that makes the same again.
        versions: of what ran on the host.
    """

    started: datetime
    finished: datetime
    command: str
    versions: Mapping[str, str]


def report_page(records: Iterable[CellRecord], head: PageHead, folder: Path) -> str:
    """The page: HTML that needs no network and no other file.

    Args:
        folder: where it will lie; it links to the cards that lie there too.
    """
    records = tuple(records)
    models = by_model(records)
    leading = leading_metric(records)
    best = best_cells(records, leading)
    metrics = [metric for metric in SHOWN if any(metric.name in _figures(one) for one in records)]
    others = [metric for metric in metrics if metric is not leading]
    counts = Counter(record.status for record in records)
    return render_page(
        _TEMPLATE,
        {
            "head": head,
            "took": format_duration((head.finished - head.started).total_seconds()),
            "statuses": [
                (f"{counts[status]} {status}", kind) for status, kind in _KINDS.items() if counts[status]
            ],
            "metrics": metrics,
            "by_others": RULE,
            "rule": None if leading is None else best_rule(leading),
            "models": [
                {
                    "name": model,
                    "rows": [_row(record, metrics, record.id in best, folder) for record in cells],
                    "builds": [_build(name, build, metrics) for name, build in other_builds(cells).items()],
                    "faults": faults(cells),
                    "pictures": _pictures(number, cells, leading, best) if number < _MOST_PICTURED else (),
                    "others": _others(number, cells, others, best) if number < _MOST_PICTURED else (),
                    "tested": task_table(cells),
                    "layers": [_worst(record) for record in cells if record.layer_errors],
                }
                for number, (model, cells) in enumerate(models.items())
            ],
            "pictured": None if len(models) <= _MOST_PICTURED else _MOST_PICTURED,
            "failures": [
                _failure(record, remark)
                for cells in models.values()
                for record in cells
                if (remark := record.remark) is not None
            ],
            "cells": [_details(record) for cells in models.values() for record in cells],
        },
    )


def _figures(record: CellRecord) -> Mapping[str, Any]:
    return {} if record.measurements is None else record.measurements.figures


def _row(record: CellRecord, metrics: Sequence[Metric], best: bool, folder: Path) -> dict[str, Any]:
    measured = record.measurements
    size = share = ""
    if measured is not None:
        size = format_bytes(measured.size_after)
        share = f"{measured.size_after / measured.size_before:.0%}" if measured.size_before else ""
    reload = None if measured is None else measured.reload
    return {
        "record": record,
        "card": None if record.path is None else _card(folder, record.path),
        "kind": _KINDS[record.status],
        "best": best,
        "size": size,
        "share": share,
        "figures": [(metric.column, _with_error(record, metric)) for metric in metrics],
        "unproven": measured is not None and bool(measured.figures) and not measured.proven,
        "loaded": "" if reload is None else format_bytes(reload.peak_memory_bytes),
        "seconds": "" if measured is None else format_duration(measured.seconds),
        "peak": "" if measured is None else format_bytes(measured.peak_memory_bytes),
    }


def _build(name: str, build: BuildFigures, metrics: Sequence[Metric]) -> dict[str, Any]:
    return {
        "name": name,
        "page": hub_page(name, build),
        "size": format_bytes(build.size),
        "figures": [
            (metric.column, cell_with_error(metric, build.figures.get(metric.name, Figure())))
            for metric in metrics
        ],
    }


def _card(folder: Path, path: str) -> str | None:
    """A checkpoint's card beside the page; reports that were gathered from elsewhere have none."""
    card = f"{path}/{CARD_FILE}"
    return card if (folder / card).is_file() else None


def _with_error(record: CellRecord, metric: Metric) -> str:
    """A metric's figure with its standard error; empty where there is none that counts."""
    if record.measurements is None or metric.name not in proven_figures(record):
        return ""
    return cell_with_error(metric, record.measurements.figure(metric))


def _pictures(
    number: int, cells: Sequence[CellRecord], leading: Metric | None, best: Iterable[str]
) -> list[tuple[Picture, str]]:
    quality = None if leading is None else quality_picture(f"quality-{number}", cells, leading, best)
    found = [
        (quality, "Quality against size. Bars: one standard error to each side."),
        (
            layers_picture(f"layers-{number}", cells),
            "Which layers suffer: means by block, and by kind of layer.",
        ),
        (cost_picture(f"cost-{number}", cells), "Memory and speed."),
    ]
    return [(picture, caption) for picture, caption in found if picture is not None]


def _others(
    number: int, cells: Sequence[CellRecord], metrics: Iterable[Metric], best: Iterable[str]
) -> list[tuple[Picture, str]]:
    """Pictures of the metrics by which cells are not compared."""
    found = (
        (quality_picture(f"{metric.name}-{number}", cells, metric, best), f"{metric.heading} against size.")
        for metric in metrics
    )
    return [(picture, caption) for picture, caption in found if picture is not None]


def _worst(record: CellRecord) -> dict[str, Any]:
    known = {name: error for name, error in record.layer_errors.items() if error is not None}
    worst = sorted(known, key=lambda name: -known[name])[:_WORST_LAYERS]
    return {"id": record.id, "layers": [(name, f"{known[name]:.2%}") for name in worst]}


def _failure(record: CellRecord, remark: tuple[str, str]) -> dict[str, Any]:
    what, fix = remark
    return {"record": record, "kind": _KINDS[record.status], "what": what, "fix": fix}


def _details(record: CellRecord) -> dict[str, Any]:
    measured = record.measurements
    return {
        "record": record,
        "settings": [(name, _words(value)) for name, value in record.settings.items()],
        "limits": [(name, _words(value)) for name, value in record.limits.items()],
        "evaluation": None if measured is None else measured.evaluation,
        "versions": sorted(record.versions.items()),
    }


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
