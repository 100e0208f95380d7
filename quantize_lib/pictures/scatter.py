"""A figure of quality against size: a point with its error bar for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantize_lib.pictures.palette import look
from quantize_lib.pictures.picture import (
    INK,
    Picture,
    add_legend,
    drawing,
    legend_height,
    logarithmic,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.transforms import Bbox

_WIDTH, _HEIGHT = 460, 340
_COLUMNS = 3
_LOG_FROM = 12.0
"""Times that the largest figure is the smallest, from which on the axis is logarithmic."""
_OUTSIDE = 4.0
_PLACES = (
    *(
        (8, 0, "left", "center"),
        (-8, 0, "right", "center"),
        (0, 8, "center", "bottom"),
        (0, -8, "center", "top"),
    ),
    *((7, 7, "left", "bottom"), (7, -7, "left", "top"), (-7, 7, "right", "bottom"), (-7, -7, "right", "top")),
    *(
        (0, 19, "center", "bottom"),
        (0, -19, "center", "top"),
        (14, 16, "left", "bottom"),
        (14, -16, "left", "top"),
    ),
)
"""Where a point's label may stand: its distance in points, and how it is aligned; the best first."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point.

    Attributes:
        label: written beside it.
        series: those of one series look alike, and stand in the legend.
        error: to both sides of `y`; None where it is not known.
        best: whether it is on the line of those that none beats.
    """

    label: str
    series: str
    x: float
    y: float
    error: float | None = None
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What an axis shows, with its unit: `weights on disk, MB`."""

    label: str
    unit: float = 1.0
    """What values are divided by before they are shown."""


def scatter(
    name: str,
    points: Sequence[Point],
    *,
    x: Axis,
    y: Axis,
    alt: str,
    reference: tuple[float, str] | None = None,
) -> Picture:
    """Points with error bars, labelled where there is room.

    Args:
        points: at least one; all values finite.
        reference: a value of `y` that a line is drawn at, and its label.
    """
    with drawing():
        series = list(dict.fromkeys(point.series for point in points))
        below = legend_height(len(series) + 2, _COLUMNS)
        figure = new_figure(_WIDTH, _HEIGHT + below, left=66, bottom=44 + below)
        axes = figure.subplots()
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        shown = [*(point.y for point in points), *([] if reference is None else [reference[0]])]
        if min(shown) > 0 and max(shown) / min(shown) > _LOG_FROM:
            axes.set_yscale("log", nonpositive="clip")
        axes.margins(0.14, 0.12)
        if reference is not None:
            axes.axhline(reference[0], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=reference[1])
        front = sorted((point.x / x.unit, point.y / y.unit) for point in points if point.best)
        if len(front) > 1:
            axes.plot(
                *zip(*front, strict=True), color=INK, linewidth=0.9, alpha=0.45, label="best at their size"
            )
        for index, one in enumerate(series):
            ours = [point for point in points if point.series == one]
            colour, marker = look(index)
            axes.errorbar(
                [point.x / x.unit for point in ours],
                [point.y / y.unit for point in ours],
                yerr=[(point.error or 0.0) / y.unit for point in ours],
                fmt=marker,
                color=colour,
                ecolor=INK,
                elinewidth=0.9,
                capsize=2.5,
                markeredgecolor=INK,
                markeredgewidth=0.7,
                markersize=6.5,
                label=one,
            )
        if axes.get_yscale() == "log":
            logarithmic(axes.yaxis)
        add_legend(figure, _COLUMNS)
        _label(figure, axes, [(point.x / x.unit, point.y / y.unit, point.label) for point in points])
        return Picture(name, alt, figure)


def _label(figure: Any, axes: Any, labels: Sequence[tuple[float, float, str]]) -> None:
    """Write each label where it covers least."""
    renderer = figure.canvas.get_renderer()
    room = axes.get_window_extent(renderer)
    at = [axes.transData.transform((x, y)) for x, y, _ in labels]
    taken = [_box(px, py) for px, py in at]
    for x, y, text in labels:
        found: list[tuple[float, Any, Bbox]] = []
        for right, up, across, along in _PLACES:
            label = axes.annotate(
                text, (x, y), (right, up), textcoords="offset points", ha=across, va=along, fontsize=7.5
            )
            box = label.get_window_extent(renderer)
            found.append((_covered(box, taken, room), label, box))
            if not found[-1][0]:
                break
        least = min(found, key=lambda one: one[0])
        taken.append(least[2])
        for _, label, _ in found:
            if label is not least[1]:
                label.remove()


def _box(x: float, y: float) -> Bbox:
    """What a marker takes, in display pixels."""
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - 6, y - 6, x + 6, y + 6)


def _covered(box: Bbox, taken: Sequence[Bbox], room: Bbox) -> float:
    """The area of a box that lies on others or, which is worse, outside of the axes."""
    from matplotlib.transforms import Bbox

    area = 0.0
    for other in taken:
        both = Bbox.intersection(box, other)
        area += 0.0 if both is None else both.width * both.height
    inside = Bbox.intersection(box, room)
    outside = box.width * box.height - (0.0 if inside is None else inside.width * inside.height)
    return area + _OUTSIDE * outside
