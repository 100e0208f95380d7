"""A metric whose figure is made of the mean of a value for each predicted token."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from quantize_lib.files import finite
from quantize_lib.metrics.entry import Metric
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.logits import Predictions


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


class MeanMetric(Metric):
    """A metric with a value for each predicted token.

    Their mean is what the figure is made of, and what the pass and the reload from disk have to agree on.

    Attributes:
        compared: what the mean is that a reload has to reproduce.
        tolerances: how far a reload's mean may be from the pass's, for every precision. Empty where it is not
            compared: the smallest rounding turns what it counts, and another one of the same logits is.
    """

    compared: ClassVar[str] = ""
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {}

    @property
    def values_of(self) -> str:
        return self.name

    @abstractmethod
    def per_token(self, model: Predictions, base: Predictions | None, ids: Tensor) -> Tensor:
        """What is accumulated.

        Args:
            model: of a text.
            base: the base model's, of the same text; given where the metric compares.
            ids: int64 (batch, length), on the same device.

        Returns:
            float32 (batch, length - 1): token t + 1 is predicted at position t, the last predicts nothing.
        """

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

    def by_sequence(self, values: Tensor) -> tuple[float, ...]:
        """With six digits, which is far below the standard error; empty where one is not finite."""
        means = [float(f"{mean:.6g}") for mean in self.sequence_means(values).tolist()]
        return tuple(means) if all(map(math.isfinite, means)) else ()

    def of_values(self, values: Tensor) -> float:
        return self.figure(self.mean(values))

    def standard_error(self, values: Tensor) -> float | None:
        """From the sequences' means and, where the figure is not their mean, its slope (delta method)."""
        return _error_of_mean(self.slope(self.mean(values)) * self.sequence_means(values))

    def increase_error(self, values: Tensor, base_values: Tensor) -> float | None:
        """From the sequences' differences, by the slopes of `after / before - 1` (delta method).

        For a perplexity of means a and b that is exp(a - b) times the standard error of the mean of the
        sequences' a - b: what makes a sequence hard for both models falls out.
        """
        mean, base_mean = self.mean(values), self.mean(base_values)
        before = self.figure(base_mean)
        if not before or not math.isfinite(before):
            return None
        ratio = self.figure(mean) / before
        own = self.slope(mean) / before * self.sequence_means(values)
        of_base = ratio * self.slope(base_mean) / before * self.sequence_means(base_values)
        return _error_of_mean(own - of_base)

    @property
    def sample_keys(self) -> tuple[str, str]:
        """Its flat keys in the report's `reload`: of the reload, and of the pass."""
        return f"sample_{self.name}", f"sample_{self.name}_pass"


def _error_of_mean(values: Tensor) -> float | None:
    """The standard error of a mean over sequences; None where there is but one, or it is not finite."""
    if values.shape[0] < 2:
        return None
    return finite(float(values.std()) / math.sqrt(values.shape[0]))
