"""What a run measured, as pictures: quality against size, error by layer, memory and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import fmean

from quantize_lib.architecture.blocks import of_all_blocks, split
from quantize_lib.methods import METHODS, get_method
from quantize_lib.metrics import Metric
from quantize_lib.pictures.bars import Panel, bars
from quantize_lib.pictures.layers import LayerSeries, layer_errors
from quantize_lib.pictures.picture import Picture
from quantize_lib.pictures.scatter import Axis, Point, scatter
from quantize_lib.report.comparison import proven_figures, short_labels
from quantize_lib.report.other_builds import BY_OTHERS, other_builds
from quantize_lib.report.records import CellRecord
from quantize_lib.text import format_bytes, format_duration, plain

_MAX_LABEL = 28
_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def quality_picture(
    name: str, records: Sequence[CellRecord], metric: Metric, best: Iterable[str]
) -> Picture | None:
    """A metric against the size on disk, for the cells of one model and for other builds of its base.

    Returns:
        None where fewer than two have a figure.

    Args:
        name: of the picture.
        best: the ids of those that are best at their size.
    """
    best = frozenset(best)
    points, before = [], None
    labels = _labels(records)
    # So that a method looks the same in every picture.
    order = list(METHODS)
    for record in sorted(records, key=lambda one: order.index(one.method)):
        measured, value = record.measurements, proven_figures(record).get(metric.name)
        if measured is None or value is None:
            continue
        figure = measured.figure(metric)
        before = _positive(figure.before)
        points.append(
            Point(
                label=labels[record.id],
                series=get_method(record.method).title,
                x=measured.size_after,
                y=value,
                error=_positive(figure.standard_error),
                best=record.id in best,
            )
        )
    points += [
        Point(
            label=_short(build.rpartition("/")[2]),
            series=BY_OTHERS,
            x=found.size,
            y=other.after,
            error=_positive(other.standard_error),
        )
        for build, found in other_builds(records).items()
        if (other := found.figures.get(metric.name)) is not None and other.after is not None
    ]
    if len(points) < 2:
        return None
    unit, factor = _unit(max(point.x for point in points))
    better = "more is better" if metric.more_is_better else "less is better"
    return scatter(
        name,
        points,
        x=Axis(label=f"weights on disk, {unit}", unit=factor),
        y=Axis(label=f"{metric.title}, {metric.unit} ({better})"),
        reference=None if before is None else (before, "base model"),
        alt=f"{metric.heading} against size on disk: "
        + "; ".join(f"{point.label} {point.y:.4g} at {format_bytes(point.x)}" for point in points),
    )


def layers_picture(name: str, records: Sequence[CellRecord]) -> Picture | None:
    """The error of layers by block and by kind, for the cells of one model; None where none is known."""
    labels = _labels(records)
    series = []
    for record in records:
        errors = {layer: error for layer, error in record.layer_errors.items() if error and isfinite(error)}
        if errors:
            series.append(_series(labels[record.id], errors))
    if not series:
        return None
    worst = (f"{one.label}: {max(one.by_kind, key=lambda kind: one.by_kind[kind])}" for one in series)
    return layer_errors(
        name,
        series,
        label="relative error of the layer’s output",
        alt=f"Error by layer. The kind of layer with the largest error of each cell: {'; '.join(worst)}",
    )


def cost_picture(name: str, records: Sequence[CellRecord]) -> Picture | None:
    """Memory and time, for the cells of one model; None where fewer than two were measured."""
    labels = _labels(records)
    measured = {
        labels[record.id]: record.measurements for record in records if record.measurements is not None
    }
    if len(measured) < 2:
        return None
    reloads = [one.reload for one in measured.values()]
    panels = [
        Panel(
            title="memory, loaded",
            values=[None if one is None else one.peak_memory_bytes for one in reloads],
            words=format_bytes,
        ),
        Panel(
            title="time to load",
            values=[None if one is None else one.load_seconds for one in reloads],
            words=format_duration,
        ),
        Panel(
            title="time to quantize",
            values=[one.seconds for one in measured.values()],
            words=format_duration,
        ),
    ]
    return bars(
        name,
        list(measured),
        panels,
        alt="Peak memory once loaded, time to load and time to quantize of each cell.",
    )


def _series(label: str, errors: Mapping[str, float]) -> LayerSeries:
    blocks: dict[int, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for layer, error in errors.items():
        _, index, inside = split(layer)
        blocks.setdefault(int(index), []).append(error)
        kinds.setdefault(_short(of_all_blocks(f".{inside}").removeprefix(".")), []).append(error)
    return LayerSeries(
        label=label,
        by_block=sorted((index, fmean(values)) for index, values in blocks.items()),
        by_kind={kind: fmean(values) for kind, values in kinds.items()},
    )


def _labels(records: Sequence[CellRecord]) -> dict[str, str]:
    return {cell: _short(label) for cell, label in short_labels(records).items()}


def _short(text: str) -> str:
    text = plain(text)
    # What tells names apart stands at their end.
    return text if len(text) <= _MAX_LABEL else "…" + text[1 - _MAX_LABEL :]


def _positive(value: float | None) -> float | None:
    """What can be drawn; None for the rest."""
    return value if value is not None and isfinite(value) and value > 0 else None


def _unit(largest: float) -> tuple[str, float]:
    return next(((unit, factor) for unit, factor in _UNITS if largest >= factor), ("B", 1.0))
