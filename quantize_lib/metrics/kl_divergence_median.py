"""The median of KL divergence over all predicted tokens."""

from __future__ import annotations

from quantize_lib.metrics.kl_divergence import METRIC as KL_DIVERGENCE
from quantize_lib.metrics.quantile import QuantileMetric


class _Median(QuantileMetric):
    name = "kl_divergence_median"
    order = 3
    title = "median of KL divergence"
    unit = "nats per token"
    description = "median over all predicted tokens of KL(base ‖ quantized)"
    compares = True
    of = KL_DIVERGENCE
    per_mille = 500


METRIC = _Median()
