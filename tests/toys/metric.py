"""A metric for the tests: how often the checkpoint's most likely token is the base model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.metrics.entry import NONE, Figure, Limit, Metric, Row, Tolerance, number
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor


class _Least(Limit):
    key = "min_top_agreement"
    number = "Limit on top-token agreement, as a share."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on top-token agreement",
        "description": "Smallest share of positions whose most likely token is the base model's.",
        "type": "string",
        "pattern": "^[0-9]{1,3}%$",
        "errorMessage": "not a share; write a percentage such as 90%",
        "examples": ["90%"],
    }

    def parse(self, written: float | str) -> float:
        return float(str(written).removesuffix("%")) / 100

    def judge(self, figure: Figure, limit: float) -> str | None:
        if figure.after is None:
            return f"the top-token agreement was not measured, and {self.key} is set"
        if limit <= figure.after <= 1:
            return None
        return f"top-token agreement is {number(figure.after)}, less than the least allowed {limit:g}"


class _TopAgreement(Metric):
    name = "top_agreement"
    order = 9
    title = "top-token agreement"
    column = "top token"
    unit = "share of positions"
    description = "how often the most likely token is the base model's"
    compared = "mean agreement"
    compares = True
    more_is_better = True
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {
        Precision.FLOAT32: Tolerance(absolute=0.05),
        Precision.HALF: Tolerance(absolute=0.1),
        Precision.ROUNDED_INPUTS: Tolerance(absolute=0.2),
    }
    limit = _Least()

    def per_token(self, logits: Tensor, base_logits: Tensor | None, ids: Tensor) -> Tensor:
        assert base_logits is not None
        assert ids.shape == logits.shape[:2]
        same = logits[:, :-1].argmax(-1) == base_logits[:, :-1].argmax(-1)
        return same.float().where(logits[:, :-1].isfinite().all(-1), float("nan"))

    def row(self, figure: Figure) -> Row | None:
        return None if figure.after is None else Row(self.heading, NONE, self.cell(figure))

    def cell(self, figure: Figure) -> str:
        return "" if figure.after is None else f"{figure.after:.1%}"


METRIC = _TopAgreement()
