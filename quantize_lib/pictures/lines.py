"""How a figure grows: a line for each of several things, with the spread of repeated runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantize_lib.pictures.palette import look
from quantize_lib.pictures.picture import (
    INK,
    Picture,
    add_legend,
    drawing,
    legend_height,
    new_figure,
)

_WIDTH, _HEIGHT, _COLUMNS = 460, 230, 2
_APART = 0.06
"""How far lines stand from each other, so that their bars do not cover one another; 1 is a step."""


@dataclass(frozen=True, kw_only=True)
class Middle:
    """A median with its quartiles, in the unit of the axis."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing.

    Attributes:
        label: in the legend.
        values: for each step; None where there is none.
    """

    label: str
    values: Sequence[Middle | None]


def lines(
    name: str, steps: Sequence[str], series: Sequence[Line], *, title: str, x: str, y: str, alt: str
) -> Picture:
    """A line for each thing, from 0 up, at steps that stand equally far apart.

    Args:
        steps: at least one.
        series: at least one.
        x, y: what the axes are, with their units.
    """
    with drawing():
        legend = legend_height(len(series), _COLUMNS)
        figure = new_figure(_WIDTH, _HEIGHT + legend, left=58, bottom=46 + legend, top=26)
        axes = figure.subplots()
        for index, line in enumerate(series):
            colour, marker = look(index)
            place = (index - (len(series) - 1) / 2) * _APART
            found = [(step + place, value) for step, value in enumerate(line.values) if value is not None]
            axes.errorbar(
                [step for step, _ in found],
                [value.middle for _, value in found],
                yerr=[
                    [value.middle - value.low for _, value in found],
                    [value.high - value.middle for _, value in found],
                ],
                label=line.label,
                color=colour,
                marker=marker,
                markersize=5.5,
                markeredgecolor=INK,
                markeredgewidth=0.6,
                ecolor=INK,
                elinewidth=0.9,
                capsize=2.5,
            )
        axes.set_title(title, loc="left")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xticks(range(len(steps)), steps)
        axes.set_xlim(-0.5, len(steps) - 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        add_legend(figure, _COLUMNS)
        return Picture(name, alt, figure)
