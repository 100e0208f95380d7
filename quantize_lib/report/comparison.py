"""Cells of a model beside each other: their order, by which figure they are compared, and which none beats.

A cell is best at its size where no other cell of its model, measured on the same text, is at most as large
and at least as good, and better in one of the two (the Pareto front). Only figures count that the reload
reproduced, and no cell that failed or missed its gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from quantize_lib.metrics import METRICS, Metric
from quantize_lib.report.records import CellRecord

_OUT = ("failed", "gated")


def leading_metric(records: Iterable[CellRecord]) -> Metric | None:
    """The metric by which cells are compared: the first that compares with the base model, else the first at
    all, of those that were measured. None where none was."""
    measured = {name for record in records for name in proven_figures(record)}
    found = [metric for metric in METRICS.values() if metric.name in measured]
    return next((metric for metric in found if metric.compares), found[0] if found else None)


def best_rule(metric: Metric) -> str:
    """By which rule cells are best, as a sentence."""
    return (
        "A cell is best at its size where no other cell of its model, measured on the same text, is at most "
        f"as large and at least as good by {metric.title}, and better in one of the two."
    )


def best_cells(records: Iterable[CellRecord], metric: Metric | None = None) -> frozenset[str]:
    """The ids of the cells that are best at their size.

    Args:
        metric: by which they are compared; `leading_metric` where it is None.
    """
    records = tuple(records)
    metric = metric or leading_metric(records)
    if metric is None:
        return frozenset()
    groups: dict[tuple[str, str], list[tuple[CellRecord, int, float]]] = {}
    for record in records:
        measured, figure = record.measurements, proven_figures(record).get(metric.name)
        if measured is None or measured.evaluation is None or figure is None or record.status in _OUT:
            continue
        place = groups.setdefault((record.model, measured.evaluation.tokens_digest), [])
        place.append((record, measured.size_after, figure))
    return frozenset(
        record.id
        for group in groups.values()
        for record, size, figure in group
        if not any(
            other_size <= size
            and not metric.is_better(figure, other)
            and (other_size < size or metric.is_better(other, figure))
            for _, other_size, other in group
        )
    )


def proven_figures(record: CellRecord) -> Mapping[str, float]:
    """The figures of a cell by the metric's name: those that are finite and that the reload reproduced."""
    measured = record.measurements
    if measured is None or not measured.proven:
        return {}
    return {
        name: figure.after
        for name, figure in measured.figures.items()
        if figure.after is not None and math.isfinite(figure.after)
    }


def by_model(records: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    """The cells of each model, the smallest first, those without a size last; models in their own order."""
    found: dict[str, list[CellRecord]] = {}
    for record in records:
        found.setdefault(record.model, []).append(record)
    return {model: sorted(cells, key=_size) for model, cells in found.items()}


def short_labels(records: Sequence[CellRecord]) -> dict[str, str]:
    """The ids of a model's cells without what all of them begin with: `gptq-4bit`."""
    words = {record.id: record.id.split("-") for record in records}
    # The last word of the shortest stays, whatever they have in common.
    shortest = min(map(len, words.values()), default=1) - 1 if len(words) > 1 else 0
    common = 0
    while common < shortest and len({tuple(one[: common + 1]) for one in words.values()}) == 1:
        common += 1
    return {cell: "-".join(one[common:]) for cell, one in words.items()}


def _size(record: CellRecord) -> tuple[bool, int, str]:
    measured = record.measurements
    return (measured is None, 0 if measured is None else measured.size_after, record.id)
