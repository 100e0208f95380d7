"""The 99.9th percentile of KL divergence over all predicted tokens."""

from __future__ import annotations

from quantize_lib.metrics.kl_divergence import METRIC as KL_DIVERGENCE
from quantize_lib.metrics.quantile import QuantileMetric


class _Percentile999(QuantileMetric):
    name = "kl_divergence_p999"
    order = 5
    title = "99.9th percentile of KL divergence"
    unit = "nats per token"
    description = "99.9th percentile over all predicted tokens of KL(base ‖ quantized)"
    compares = True
    of = KL_DIVERGENCE
    per_mille = 999


METRIC = _Percentile999()
