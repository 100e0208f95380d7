"""A metric for the tests: how often the two most likely tokens are the base model's, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.metrics.entry import NONE, Row
from quantize_lib.metrics.figure import Figure
from quantize_lib.metrics.limit import Estimate, Limit
from quantize_lib.metrics.mean import MeanMetric, Tolerance
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.logits import Predictions


class _Least(Limit):
    key = "min_top_two"
    number = "Limit on top-two agreement, as a share."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on top-two agreement",
        "description": "Smallest share of positions whose two most likely tokens are the base model's.",
        "type": "string",
        "pattern": "^[0-9]{1,3}%$",
        "errorMessage": "not a share; write a percentage such as 90%",
        "examples": ["90%"],
    }
    is_least = True

    def parse(self, written: float | str) -> float:
        return float(str(written).removesuffix("%")) / 100

    def fault(self, figure: Figure) -> str | None:
        if figure.after is None or not 0 <= figure.after <= 1:
            return f"the top-two agreement was not measured, and {self.key} is set"
        return None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None
        return Estimate(figure.after, figure.standard_error)

    def said(self, figure: Figure, limit: float) -> str:
        return f"top-two agreement is {self.shown(self.estimate(figure).value)}"

    def shown(self, value: float) -> str:
        return f"{value:.4g}"


class _TopTwo(MeanMetric):
    name = "top_two"
    order = 9
    title = "top-two agreement"
    column = "top two"
    unit = "share of positions"
    description = "how often the two most likely tokens are the base model's, in their order"
    compared = "mean agreement"
    compares = True
    more_is_better = True
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {
        Precision.FLOAT32: Tolerance(absolute=0.05),
        Precision.HALF: Tolerance(absolute=0.1),
        Precision.ROUNDED_INPUTS: Tolerance(absolute=0.2),
    }
    limit = _Least()

    def per_token(self, model: Predictions, base: Predictions | None, ids: Tensor) -> Tensor:
        assert base is not None
        assert ids[:, 1:].shape == model.shape
        same = (model.rows.topk(2).indices == base.rows.topk(2).indices).all(-1)
        return same.float().where(model.rows.isfinite().all(-1), float("nan")).view(model.shape)

    def row(self, figure: Figure) -> Row | None:
        return None if figure.after is None else Row(self.heading, NONE, self.cell(figure))

    def cell(self, figure: Figure) -> str:
        return "" if figure.after is None else f"{figure.after:.1%}"


METRIC = _TopTwo()
