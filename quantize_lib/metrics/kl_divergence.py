"""KL divergence of the next-token distributions from the base model's (Kullback and Leibler, 1951)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.metrics.entry import NONE, Row
from quantize_lib.metrics.figure import Figure, number, with_error
from quantize_lib.metrics.limit import Estimate, Limit
from quantize_lib.metrics.mean import MeanMetric, Tolerance
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.logits import Predictions


class _Largest(Limit):
    key = "max_kl_divergence"
    number = "Limit on KL divergence, in nats per token."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on KL divergence",
        "description": "Largest mean KL divergence of the next-token distributions from the base model's, "
        "in nats per token.",
        "type": "number",
        "minimum": 0,
        "examples": [0.2],
    }

    def fault(self, figure: Figure) -> str | None:
        if figure.after is None:
            return f"the KL divergence was not measured, and {self.key} is set"
        if not math.isfinite(figure.after):
            return f"the KL divergence is not finite ({figure.after})"
        return None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None
        return Estimate(figure.after, figure.standard_error)

    def said(self, figure: Figure, limit: float) -> str:
        return f"KL divergence is {number(figure.after)} nats per token"

    def shown(self, value: float) -> str:
        return f"{value:.4g}"


class _KlDivergence(MeanMetric):
    name = "kl_divergence"
    order = 2
    title = "KL divergence"
    column = "KL"
    unit = "nats per token"
    description = "mean KL(base ‖ quantized) of the next-token distributions"
    compared = "mean KL divergence"
    detail = "(base ‖ quantized, of the next-token distributions)"
    compares = True
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {
        Precision.FLOAT32: Tolerance(absolute=1e-3, relative=0.02),
        Precision.HALF: Tolerance(absolute=5e-3, relative=0.05),
        Precision.ROUNDED_INPUTS: Tolerance(absolute=1e-2, relative=0.2),
    }
    limit = _Largest()

    def per_token(self, model: Predictions, base: Predictions | None, ids: Tensor) -> Tensor:
        from quantize_lib.logits import token_kl

        assert base is not None, "it compares"
        return token_kl(base, model)

    def row(self, figure: Figure) -> Row | None:
        if figure.after is None or not math.isfinite(figure.after):
            return None
        error = None if figure.standard_error is None else f"{figure.standard_error:.4f}"
        return Row(f"{self.heading}, {self.unit}", NONE, with_error(self.cell(figure), error))

    def cell(self, figure: Figure) -> str:
        return "" if figure.after is None else f"{figure.after:.4f}"


METRIC = _KlDivergence()
