"""How often a checkpoint's most likely next token is the base model's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.metrics.entry import NONE, Row
from quantize_lib.metrics.figure import Figure, with_error
from quantize_lib.metrics.limit import Estimate, Limit
from quantize_lib.metrics.mean import MeanMetric

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.logits import Predictions


class _Least(Limit):
    key = "min_top_token_agreement"
    number = "Limit on the agreement of the top token, as a fraction: 0.9 for 90%."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on top-token agreement",
        "description": "Smallest share of predicted tokens for which the most likely token is the base "
        "model's: a percentage, or a fraction (0.9 is 90%).",
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 1,
        "pattern": r"^(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%$",
        "errorMessage": "not a share; write a percentage such as 90%, or a fraction from 0 to 1 such as 0.9",
        "examples": ["90%", 0.9],
    }
    is_least = True

    def parse(self, written: float | str) -> float:
        if isinstance(written, str):
            return float(written.removesuffix("%")) / 100
        return float(written)

    def fault(self, figure: Figure) -> str | None:
        if figure.after is None:
            return f"the top-token agreement was not measured, and {self.key} is set"
        if not math.isfinite(figure.after):
            return f"the top-token agreement is not finite ({figure.after})"
        return None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None
        return Estimate(figure.after, figure.standard_error)

    def said(self, figure: Figure, limit: float) -> str:
        assert figure.after is not None
        short = f"{figure.after:.1%}"
        if figure.after < limit <= float(short.removesuffix("%")) / 100:
            # As many digits as it takes to differ from the limit.
            short = self.shown(figure.after)
        return f"top-token agreement is {short}"

    def shown(self, value: float) -> str:
        return f"{value * 100:.6g}%"


class _TopTokenAgreement(MeanMetric):
    name = "top_token_agreement"
    order = 6
    title = "top-token agreement"
    column = "top token"
    unit = "share of predicted tokens"
    description = "how often the most likely next token is the base model's"
    compares = True
    more_is_better = True
    # No tolerances: on a sample near ties turn by the smallest rounding. A reload has to reproduce the KL
    # divergence of the same logits.
    limit = _Least()

    def per_token(self, model: Predictions, base: Predictions | None, ids: Tensor) -> Tensor:
        from quantize_lib.logits import token_agreement

        assert base is not None, "it compares"
        return token_agreement(base, model)

    def row(self, figure: Figure) -> Row | None:
        if figure.after is None or not math.isfinite(figure.after):
            return None
        error = None if figure.standard_error is None else f"{figure.standard_error:.1%}"
        return Row(self.heading, NONE, with_error(self.cell(figure), error))

    def cell(self, figure: Figure) -> str:
        return "" if figure.after is None else f"{figure.after:.1%}"


METRIC = _TopTokenAgreement()
