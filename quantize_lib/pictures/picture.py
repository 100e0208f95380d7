"""A drawn picture and its files.

Text stays text, so that it can be searched, selected and read aloud. Nothing in a file says when or by which
version it was drawn. Foreign words are words: mathematical markup in them is not obeyed.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#1f2328"
"""Of text, axes and outlines. In a page it is the colour of the page's text."""
_PAPER = "#ffffff"
_INCHES_A_PIXEL = 1 / 96
_SHORT = 40.0
"""Times that an axis' end is its beginning, up to which numbers stand between the powers of ten."""
_CHARACTER, _ROW = 6.3, 17
"""In CSS pixels, of a small label."""
_PNG_DOTS = 192
"""An inch, which is two for a pixel of the page."""
_PROLOGUE = re.compile(r"\A.*?(?=<svg )", re.S)
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_STYLE_SHEET = re.compile(r" <defs>\s*<style.*?</style>\s*</defs>\n", re.S)
_FONT = "font-family: 'DejaVu Sans'"
"""The one that the drawing is measured with, as it comes with matplotlib."""
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our own style, whatever the user's matplotlibrc says."""
    import matplotlib

    # It warns of letters that its own font lacks; who shows an SVG has more fonts.
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        matplotlib.rcParams.update(matplotlib.rcParamsDefault)
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: int, height: int, *, left: int, bottom: int, right: int = 12, top: int = 12) -> Figure:
    """An empty figure, to be drawn inside `drawing`.

    Places are fixed: a layout that measures every word first would take several times as long to draw.

    Args:
        width, height: in CSS pixels.
        left, bottom, right, top: margins around the axes, in CSS pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * _INCHES_A_PIXEL, height * _INCHES_A_PIXEL))
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height
    )
    # With this canvas words can be measured before anything is saved.
    FigureCanvasAgg(figure)
    return figure


def width_of(words: Iterable[str]) -> int:
    """About how many CSS pixels the longest of some words takes as an axis' label."""
    return round(max(map(len, words), default=0) * _CHARACTER)


def add_legend(figure: Figure, columns: int) -> None:
    """A legend at the lower edge of what is labelled in the axes, once each."""
    found = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        found.values(), found.keys(), loc="lower center", ncols=columns, handletextpad=0.4, columnspacing=1.2
    )


def legend_height(labels: int, columns: int) -> int:
    """The CSS pixels that a legend takes."""
    return _ROW * -(-labels // columns) + 6


def logarithmic(axis: Axis) -> None:
    """Plain numbers at an axis that was made logarithmic: `0.01`, and between them where it is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    def words(value: float, _place: int | None = None) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".") if 1e-6 <= value < 1e6 else f"{value:.0e}"

    low, high = sorted(axis.get_view_interval())
    axis.set_major_formatter(FuncFormatter(words))
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_minor_formatter(FuncFormatter(words if high / low < _SHORT else lambda _value, _place: ""))


class Picture:
    """A drawn picture.

    Args:
        name: of the file, without ending; also what the ids in an SVG are made of.
        alt: what it shows, for who does not see it.
        figure: drawn inside `drawing`.
    """

    def __init__(self, name: str, alt: str, figure: Figure) -> None:
        self.name = name
        self.alt = alt
        self._figure = figure

    def svg(self) -> str:
        """An SVG file: dark on white, wherever it is shown."""
        return self._svg(_PAPER).replace(_FONT, f"{_FONT}, Verdana, sans-serif")

    def inline_svg(self) -> str:
        """The `svg` element for a page, in the colours and the font of the page's text."""
        # A style sheet in a page's element would hold for the whole page.
        text = _STYLE_SHEET.sub("", self._svg("none"))
        return text.replace(INK, "currentColor").replace(_FONT, "font-family: inherit")

    def png(self) -> bytes:
        """A PNG file: dark on white."""
        file = io.BytesIO()
        with drawing():
            self._figure.savefig(
                file, format="png", dpi=_PNG_DOTS, facecolor=_PAPER, metadata={"Software": None}
            )
        return file.getvalue()

    def _svg(self, paper: str) -> str:
        import matplotlib

        file = io.StringIO()
        nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with drawing():
            matplotlib.rcParams["svg.hashsalt"] = self.name
            self._figure.savefig(file, format="svg", facecolor=paper, metadata=nothing)
        text = _PROLOGUE.sub("", file.getvalue())
        # Groups are named alike in every picture, and a page may have several.
        return _GROUP_ID.sub("<g", text)
