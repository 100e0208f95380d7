"""The rule by which a limit on a measured figure is judged: with the figure's standard error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from quantize_lib.metrics.figure import Figure

NO_WORSE_THAN = "no_worse_than"
"""The key of the limit that is what was published before: of all metrics, and of no single one."""
_OF_A_TEXT = "texts"


def limit_key(key: str, text: str = "") -> str:
    """A limit's key among all limits of a cell: `max_kl_divergence`, or `texts.code.max_kl_divergence`.

    Args:
        text: the name of a further held-out text; empty for the first.
    """
    return f"{_OF_A_TEXT}.{text}.{key}" if text else key


def split_key(key: str) -> tuple[str, str]:
    """The name of the text, empty for the first, and the limit's own key."""
    first, _, rest = key.partition(".")
    text, _, own = rest.partition(".")
    return (text, own) if first == _OF_A_TEXT and text and own else ("", key)


class Outcome(StrEnum):
    """What came of a limit. The figure itself decides whether it is met; the error says how surely."""

    MET = "met"
    MET_WITHIN_ERROR = "met_within_error"
    MISSED_WITHIN_ERROR = "missed_within_error"
    MISSED = "missed"

    @property
    def met(self) -> bool:
        """Whether the checkpoint may be published."""
        return self in (Outcome.MET, Outcome.MET_WITHIN_ERROR)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a limit was judged.

    Attributes:
        key: the limit's, in the manifest's `evaluate` (`limit_key`).
        text: a sentence with the figures; of a missed one, why.
    """

    key: str
    outcome: Outcome
    text: str


class Estimate(NamedTuple):
    """The number that is compared with a limit, and its standard error where there is one."""

    value: float
    error: float | None


class Limit(ABC):
    """The rule by which a limit on a metric is judged.

    Attributes:
        key: in the manifest's `evaluate`, the plan and the report.
        words: the key in the manifest's schema.
        number: what the number in plan and report is, in a sentence.
        is_least: whether it is the least that is allowed; otherwise it is the most.
    """

    key: ClassVar[str]
    words: ClassVar[Mapping[str, Any]]
    number: ClassVar[str]
    is_least: ClassVar[bool] = False

    def parse(self, written: float | str) -> float:
        """The number, of what the manifest says in the form that `words` asks for."""
        return float(written)

    @abstractmethod
    def fault(self, figure: Figure) -> str | None:
        """Why there is nothing to judge: the figure is missing or not finite, and the limit missed."""

    @abstractmethod
    def estimate(self, figure: Figure) -> Estimate:
        """What is compared, of a figure without fault."""

    @abstractmethod
    def said(self, figure: Figure, limit: float) -> str:
        """The figure as a sentence begins with it, with as many digits as it takes to differ."""

    @abstractmethod
    def shown(self, value: float) -> str:
        """A limit, or an error, in its unit."""

    def judge(self, figure: Figure, limit: float) -> Verdict:
        """Compare a figure with a limit."""
        fault = self.fault(figure)
        if fault is not None:
            return Verdict(key=self.key, outcome=Outcome.MISSED, text=fault)
        value, error = self.estimate(figure)
        met = value >= limit if self.is_least else value <= limit
        near = error is not None and 0 < error >= abs(value - limit)
        allowed = self.shown(limit)
        said = self.said(figure, limit)
        within = ""
        if near and error is not None:
            # An error is known to two digits at best.
            within = f"within the standard error of {self.shown(float(f'{error:.2g}'))}"
        if not met:
            beyond = "less than the least allowed" if self.is_least else "more than the allowed"
            outcome = Outcome.MISSED_WITHIN_ERROR if near else Outcome.MISSED
            text = f"{said}, {beyond} {allowed}" + (f", though {within}" if within else "")
        else:
            outcome = Outcome.MET_WITHIN_ERROR if near else Outcome.MET
            text = f"{said}, at {'least' if self.is_least else 'most'} {allowed} is allowed"
            text += f": met, but only {within}" if within else ""
        return Verdict(key=self.key, outcome=outcome, text=text)
