"""What a metric's entry says: a measured figure, its unit and uncertainty, and how a limit is judged."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from quantize_lib.files import finite
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

NONE = "–"
"""Where a table has no figure."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured with a metric.

    Attributes:
        before: of the base model; None where the metric compares with it, or it is not finite.
        after: of the checkpoint; None where it is not finite.
        standard_error: of `after`, from how its sequences differ; None where there is but one.
    """

    before: float | None = None
    after: float | None = None
    standard_error: float | None = None


class Row(NamedTuple):
    """A row of the card's table: what it is, of the base model, of the checkpoint."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a reload's mean may be from the pass's: `absolute`, and `relative` times the pass's."""

    absolute: float
    relative: float = 0.0

    def allows(self, mean: float, expected: float) -> bool:
        """Whether the difference is one of rounding; never where one of them is not finite."""
        if not (math.isfinite(mean) and math.isfinite(expected)):
            return False
        return abs(mean - expected) <= self.absolute + self.relative * abs(expected)


class Limit(ABC):
    """The rule by which a limit on a metric is judged.

    Attributes:
        key: in the manifest's `evaluate`, the plan and the report.
        words: the key in the manifest's schema.
        number: what the number in plan and report is, in a sentence.
    """

    key: ClassVar[str]
    words: ClassVar[Mapping[str, Any]]
    number: ClassVar[str]

    def parse(self, written: float | str) -> float:
        """The number, of what the manifest says in the form that `words` asks for."""
        return float(written)

    @abstractmethod
    def judge(self, figure: Figure, limit: float) -> str | None:
        """Why the limit is missed, with the figures; None where it is met.

        A figure that is missing or not finite misses it.
        """


class Metric(ABC):
    """A figure that is measured on held-out text. A new one is a file in this folder.

    It has a value for each predicted token. Their mean is what the pass and the reload from disk have to
    agree on, and what the figure is made of.

    Attributes:
        name: in reports and between processes.
        order: its place in lists.
        title: as it stands within a sentence.
        column: its head in the summary's table.
        unit: of the figure.
        description: what it is, in a few words.
        detail: what the card adds to the title; empty for nothing.
        compared: what the mean is that a reload has to reproduce.
        compares: whether it compares a model's logits with the base model's; otherwise it is a figure of any
            model, and the base model has one too.
        tolerances: how far a reload's mean may be from the pass's, for every precision.
        limit: None where a manifest cannot set one.
        more_is_better: whether a larger mean is the better one.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    title: ClassVar[str]
    column: ClassVar[str]
    unit: ClassVar[str]
    description: ClassVar[str]
    detail: ClassVar[str] = ""
    compared: ClassVar[str]
    compares: ClassVar[bool]
    tolerances: ClassVar[Mapping[Precision, Tolerance]]
    limit: ClassVar[Limit | None] = None
    more_is_better: ClassVar[bool] = False

    @abstractmethod
    def per_token(self, logits: Tensor, base_logits: Tensor | None, ids: Tensor) -> Tensor:
        """What is accumulated.

        Args:
            logits: any floating dtype, (batch, length, vocabulary).
            base_logits: the base model's, of the same shape; given where the metric compares.
            ids: int64 (batch, length), on the same device.

        Returns:
            float32 (batch, length - 1): token t + 1 is predicted at position t, the last predicts nothing.
        """

    def is_better(self, mean: float, other: float) -> bool:
        """Whether a mean is better than another; never where it is no number."""
        return mean > other if self.more_is_better else mean < other

    def figure(self, mean: float) -> float:
        """The figure of the mean over all tokens."""
        return mean

    def slope(self, mean: float) -> float:
        """The figure's derivative by the mean, by which the mean's standard error becomes the figure's."""
        return 1.0

    def mean(self, values: Tensor) -> float:
        """Of the values of all tokens, (sequences, length - 1); not finite where one of them is not."""
        return float(values.double().mean())

    def sequence_means(self, values: Tensor) -> Tensor:
        """float64 (sequences,), of (sequences, length - 1)."""
        return values.double().mean(1)

    def standard_error(self, values: Tensor) -> float | None:
        """The figure's standard error.

        Tokens of a sequence depend on one another, sequences hardly do: it comes from the sequences' means,
        and where the figure is not their mean by its slope there (delta method).

        Args:
            values: (sequences, length - 1).
        """
        if values.shape[0] < 2:
            return None
        of_mean = float(self.sequence_means(values).std()) / math.sqrt(values.shape[0])
        return finite(abs(self.slope(self.mean(values))) * of_mean)

    def measured(self, values: Tensor, base_values: Tensor | None = None) -> Figure:
        """The figure of a checkpoint's values and, where the base model has one too, of its values."""
        return Figure(
            before=None if base_values is None else finite(self.figure(self.mean(base_values))),
            after=finite(self.figure(self.mean(values))),
            standard_error=self.standard_error(values),
        )

    @property
    def heading(self) -> str:
        """The title as a sentence begins with it."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def keys(self) -> Mapping[str, str]:
        """Its flat keys in a cell of the report, each with the attribute of `Figure` that stands there."""
        if self.compares:
            return {self.name: "after"}
        return {f"{self.name}_before": "before", f"{self.name}_after": "after"}

    @property
    def sample_keys(self) -> tuple[str, str]:
        """Its flat keys in the report's `reload`: of the reload, and of the pass."""
        return f"sample_{self.name}", f"sample_{self.name}_pass"

    @abstractmethod
    def row(self, figure: Figure) -> Row | None:
        """The card's row; None where there is nothing to show."""

    @abstractmethod
    def cell(self, figure: Figure) -> str:
        """What the summary's table shows; empty for nothing."""


def number(value: float | None) -> str:
    """A figure in a sentence, with four digits."""
    return "none" if value is None else f"{value:.4g}"
