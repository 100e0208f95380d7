"""Colours and shapes that stay apart for colour-blind readers, on light and on dark paper.

Colours of Okabe and Ito (2008, https://jfly.uni-koeln.de/color/). Those with the least contrast come last,
and none stands alone: every series has a marker of its own, outlined in the colour of the text.
"""

from __future__ import annotations

from typing import NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Blue, vermilion, bluish green, reddish purple, orange, sky blue, yellow."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""As matplotlib names them; of another count than the colours, so that pairs repeat late."""


class Look(NamedTuple):
    """How a series is drawn."""

    colour: str
    marker: str


def look(index: int) -> Look:
    """The look of the series at this place; 56 of them differ."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
