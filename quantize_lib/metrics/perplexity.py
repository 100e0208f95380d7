"""Perplexity: how many tokens a model hesitates between, on average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from quantize_lib.metrics.entry import NONE, Row
from quantize_lib.metrics.figure import Figure, number, with_error
from quantize_lib.metrics.limit import Estimate, Limit
from quantize_lib.metrics.mean import MeanMetric, Tolerance
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.logits import Predictions


class _Increase(Limit):
    key = "max_perplexity_increase"
    number = "Limit on the increase of perplexity, as a fraction: 0.15 for 15%."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on perplexity",
        "description": "How much larger than the base model's the perplexity may be: a percentage, or a "
        "fraction (0.15 is 15%).",
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 10,
        "pattern": r"^[0-9]{1,4}(\.[0-9]{1,6})?%$",
        "errorMessage": "not a limit; write a percentage such as 15%, or a fraction from 0 to 10 such as "
        "0.15",
        "examples": ["15%", 0.15],
    }

    def parse(self, written: float | str) -> float:
        if isinstance(written, str):
            return float(written.removesuffix("%")) / 100
        return float(written)

    def fault(self, figure: Figure) -> str | None:
        before, after = figure.before, figure.after
        if before is None or after is None:
            name = "base model's perplexity" if before is None else "perplexity"
            return f"the {name} was not measured, and {self.key} is set"
        if not math.isfinite(before) or not math.isfinite(after):
            return f"the perplexity is not finite ({number(before)} → {number(after)})"
        if before <= 0:
            return f"the base model's perplexity is not positive ({number(before)})"
        return None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.before is not None
        assert figure.after is not None
        return Estimate(figure.after / figure.before - 1, figure.increase_error)

    def said(self, figure: Figure, limit: float) -> str:
        increase = self.estimate(figure).value
        rose = "rose" if increase >= 0 else "fell"
        share = f"{abs(increase) * 100:.1f}%"
        if increase > limit and float(share.removesuffix("%")) <= limit * 100:
            # As many digits as it takes to differ from the limit.
            share = self.shown(increase)
        return f"perplexity {rose} by {share} ({figure.before:.2f} → {figure.after:.2f})"

    def shown(self, value: float) -> str:
        return f"{value * 100:.6g}%"


class _Perplexity(MeanMetric):
    name = "perplexity"
    order = 1
    title = "perplexity"
    column = "perplexity"
    unit = "per token"
    description = "exp of the mean negative log-likelihood of all predicted tokens"
    compared = "mean negative log-likelihood (≈ relative perplexity)"
    compares = False
    # In nats: the relative difference of perplexities. Measured on a 135M model: 1e-4 in float32;
    # 4e-5 (GPTQ), 2e-3 (GPTQ with zero points), 9e-4 (AWQ) and 7e-4 (NF4) with 16 bits on the way;
    # 8e-3 with LLM.int8.
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {
        Precision.FLOAT32: Tolerance(absolute=2e-3),
        Precision.HALF: Tolerance(absolute=1e-2),
        Precision.ROUNDED_INPUTS: Tolerance(absolute=2e-2),
    }
    limit = _Increase()

    def per_token(self, model: Predictions, base: Predictions | None, ids: Tensor) -> Tensor:
        from quantize_lib.logits import token_nll

        return token_nll(model, ids)

    def figure(self, mean: float) -> float:
        try:
            return math.exp(mean)
        except OverflowError:
            return math.inf

    def slope(self, mean: float) -> float:
        return self.figure(mean)

    def row(self, figure: Figure) -> Row | None:
        before, after = figure.before, figure.after
        if not _is_positive(before) or not _is_positive(after):
            return None
        error = None if figure.standard_error is None else f"{figure.standard_error:.2f}"
        increase = f"{after / before - 1:+.1%}"
        if figure.increase_error is not None:
            increase = with_error(increase, f"{figure.increase_error:.1%}")
        return Row(self.heading, f"{before:.2f}", f"{with_error(f'{after:.2f}', error)} ({increase})")

    def cell(self, figure: Figure) -> str:
        if figure.before is None and figure.after is None:
            return ""
        return f"{_short(figure.before)} → {_short(figure.after)}"


METRIC = _Perplexity()


def _is_positive(perplexity: float | None) -> TypeGuard[float]:
    return perplexity is not None and math.isfinite(perplexity) and perplexity > 0


def _short(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}" if value < 1e5 else f"{value:.2e}"
