"""What was measured with a metric, in numbers and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured with a metric.

    Attributes:
        before: of the base model; None where the metric compares with it, or it is not finite.
        after: of the checkpoint; None where it is not finite.
        standard_error: of `after`, from how its sequences differ; None where there is but one.
        increase_error: standard error of `after / before - 1`, from how the difference of both models differs
            from sequence to sequence (paired); None where there is no `before`, or but one sequence.
        sequence_means: of the checkpoint's values per token, by sequence, so that two checkpoints can be
            compared by pairs; empty for what is not made of a mean, or is not finite.
    """

    before: float | None = None
    after: float | None = None
    standard_error: float | None = None
    increase_error: float | None = None
    sequence_means: tuple[float, ...] = ()


def paired(first: Figure, second: Figure) -> tuple[float, float] | None:
    """The mean over sequences of `first - second`, and its standard error.

    Both were measured on the same sequences, so what makes one hard for both falls out. The error is 0 for a
    single sequence.

    Returns:
        None where one has no values by sequence, or another number of them.
    """
    if not first.sequence_means or len(first.sequence_means) != len(second.sequence_means):
        return None
    differences = [a - b for a, b in zip(first.sequence_means, second.sequence_means, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return fmean(differences), error


def number(value: float | None) -> str:
    """A figure in a sentence, with four digits."""
    return "none" if value is None else f"{value:.4g}"


def with_error(shown: str, error: str | None) -> str:
    """`0.1123 ± 0.0040`; without what is not known."""
    return shown if error is None else f"{shown} ± {error}"
