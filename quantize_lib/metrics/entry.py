"""What a metric's entry says: a measured figure, its unit and uncertainty, and how it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from quantize_lib.files import finite
from quantize_lib.metrics.figure import Figure
from quantize_lib.metrics.limit import Limit

if TYPE_CHECKING:
    from torch import Tensor

NONE = "–"
"""Where a table has no figure."""


class Row(NamedTuple):
    """A row of the card's table: what it is, of the base model, of the checkpoint."""

    name: str
    before: str
    after: str


class Metric(ABC):
    """A figure that is measured on held-out text. A new one is a file in this folder.

    It is made of a value for each predicted token: of their mean (`MeanMetric`), or of a quantile of the
    values that another metric has anyway (`QuantileMetric`).

    Attributes:
        name: in reports and between processes.
        order: its place in lists.
        title: as it stands within a sentence.
        column: its head in the summary's table; empty where it is left out there.
        unit: of the figure.
        description: what it is, in a few words.
        detail: what the card adds to the title; empty for nothing.
        compares: whether it compares a model's logits with the base model's; otherwise it is a figure of any
            model, and the base model has one too.
        limit: None where a manifest cannot set one.
        more_is_better: whether a larger figure is the better one.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    title: ClassVar[str]
    column: ClassVar[str] = ""
    unit: ClassVar[str]
    description: ClassVar[str]
    detail: ClassVar[str] = ""
    compares: ClassVar[bool]
    limit: ClassVar[Limit | None] = None
    more_is_better: ClassVar[bool] = False

    @property
    @abstractmethod
    def values_of(self) -> str:
        """The name of the metric whose values it is made of."""

    @abstractmethod
    def of_values(self, values: Tensor) -> float:
        """The figure of all tokens, float32 (sequences, length - 1); not finite where one of them is not."""

    @abstractmethod
    def standard_error(self, values: Tensor) -> float | None:
        """The figure's standard error, from how sequences differ; None where there is but one.

        Args:
            values: (sequences, length - 1). Those of one sequence depend on one another, sequences hardly do.
        """

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another; never where it is no number."""
        return value > other if self.more_is_better else value < other

    def increase_error(self, values: Tensor, base_values: Tensor) -> float | None:
        """The standard error of `after / before - 1`, paired; None for what has no figure of the base model.

        Args:
            values, base_values: (sequences, length - 1), of the same tokens.
        """
        return None

    def by_sequence(self, values: Tensor) -> tuple[float, ...]:
        """The mean of each sequence; none of a figure that is not made of a mean."""
        return ()

    def measured(self, values: Tensor, base_values: Tensor | None = None) -> Figure:
        """The figure of a checkpoint's values and, where the base model has one too, of its values."""
        after = finite(self.of_values(values))
        return Figure(
            before=None if base_values is None else finite(self.of_values(base_values)),
            after=after,
            standard_error=self.standard_error(values),
            increase_error=None if base_values is None else self.increase_error(values, base_values),
            sequence_means=() if after is None else self.by_sequence(values),
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

    @abstractmethod
    def row(self, figure: Figure) -> Row | None:
        """The card's row; None where there is nothing to show."""

    @abstractmethod
    def cell(self, figure: Figure) -> str:
        """What the summary's table shows; empty for nothing."""
