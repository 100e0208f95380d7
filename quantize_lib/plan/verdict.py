"""Whether a cell is to be built, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "new",
    "base",
    "settings",
    "calibration",
    "changed",
    "tool",
    "forced",
    "unknown",
    "choice",
    "unchanged",
    "rejected",
    "proposed",
    "not_chosen",
]
"""Why a cell is to be built, or (the last four) why it is not. Programs read these words."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison with the published state says of a cell.

    Attributes:
        build: whether it is to be built.
        reasons: in words for programs.
        text: the same for people.
        commit: of what is published; None where nothing is.
        url: of the pull request that keeps it from being built; None where there is none.
    """

    build: bool
    reasons: tuple[Reason, ...]
    text: str
    commit: str | None = None
    url: str | None = None
