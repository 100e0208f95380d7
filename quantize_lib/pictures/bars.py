"""Bars beside each other: several figures of the same things, each with its own scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quantize_lib.pictures.palette import look
from quantize_lib.pictures.picture import INK, Picture, drawing, new_figure, width_of

_WIDTH, _ROW, _TITLE = 460, 22, 26


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure of everything.

    Attributes:
        title: with the unit, unless `words` has it.
        values: in the order of the labels; None where there is none.
        words: how a value is written at its bar's end.
    """

    title: str
    values: Sequence[float | None]
    words: Callable[[float], str]


def bars(name: str, labels: Sequence[str], panels: Sequence[Panel], *, alt: str) -> Picture:
    """Panels beside each other, with a row for each label.

    Args:
        labels: at least one.
        panels: at least one.
    """
    with drawing():
        figure = new_figure(
            _WIDTH, _ROW * len(labels) + _TITLE + 8, left=width_of(labels) + 12, top=_TITLE, bottom=8
        )
        rows = range(len(labels))
        for index, (axes, panel) in enumerate(
            zip(
                figure.subplots(1, len(panels), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.08})[0],
                panels,
                strict=True,
            )
        ):
            values = [value or 0.0 for value in panel.values]
            axes.barh(rows, values, height=0.62, color=look(index).colour, edgecolor=INK, linewidth=0.7)
            axes.set_title(panel.title, loc="left")
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            # Room for the words behind the longest bar.
            axes.set_xlim(0, (max(values) or 1.0) * 1.75)
            for row, value in zip(rows, panel.values, strict=True):
                axes.annotate(
                    "–" if value is None else panel.words(value),
                    (value or 0.0, row),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
        axes.set_yticks(rows, labels)
        axes.invert_yaxis()
        return Picture(name, alt, figure)
