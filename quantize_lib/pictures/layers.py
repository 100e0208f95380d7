"""Which layers suffer: the error of layers by block, and by what they are in their block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantize_lib.pictures.palette import look
from quantize_lib.pictures.picture import (
    INK,
    Picture,
    add_legend,
    drawing,
    legend_height,
    logarithmic,
    new_figure,
    width_of,
)

_WIDTH, _BLOCKS, _BETWEEN, _ROW = 460, 210, 52, 18
_COLUMNS = 3


@dataclass(frozen=True, kw_only=True)
class LayerSeries:
    """The errors of one cell.

    Attributes:
        label: in the legend.
        by_block: in the order of the blocks.
        by_kind: by the layer's name in its block.
    """

    label: str
    by_block: Sequence[tuple[int, float]]
    by_kind: Mapping[str, float]


def layer_errors(name: str, series: Sequence[LayerSeries], *, label: str, alt: str) -> Picture:
    """A line for each cell over the blocks, and below a row for each kind of layer; both logarithmic.

    Args:
        series: at least one, with errors above 0.
        label: what an error is, with its unit.
    """
    kinds = list(dict.fromkeys(kind for one in series for kind in one.by_kind))
    with drawing():
        rows = _ROW * len(kinds)
        legend = legend_height(len(series), _COLUMNS)
        figure = new_figure(
            _WIDTH,
            _BLOCKS + _BETWEEN + rows + 60 + legend,
            left=max(66, width_of(kinds) + 14),
            bottom=48 + legend,
        )
        above, below = figure.subplots(
            2, 1, height_ratios=[_BLOCKS, rows], gridspec_kw={"hspace": 2 * _BETWEEN / (_BLOCKS + rows)}
        )
        for index, one in enumerate(series):
            colour, marker = look(index)
            common: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "markersize": 5,
                "markeredgecolor": INK,
                "markeredgewidth": 0.6,
            }
            above.plot(
                [block for block, _ in one.by_block],
                [error for _, error in one.by_block],
                label=one.label,
                **common,
            )
            below.plot(
                list(one.by_kind.values()),
                [kinds.index(kind) for kind in one.by_kind],
                linestyle="none",
                **common,
            )
        above.set_yscale("log")
        above.set_xlabel("block")
        above.set_ylabel(label)
        above.xaxis.get_major_locator().set_params(integer=True)
        below.set_xscale("log")
        below.set_xlabel(label)
        below.set_yticks(range(len(kinds)), kinds)
        below.margins(y=0.5 / len(kinds) if len(kinds) > 1 else 0.5)
        below.invert_yaxis()
        logarithmic(above.yaxis)
        logarithmic(below.xaxis)
        add_legend(figure, _COLUMNS)
        return Picture(name, alt, figure)
