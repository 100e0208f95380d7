"""The 99th percentile of KL divergence over all predicted tokens."""

from __future__ import annotations

from quantize_lib.metrics.kl_divergence import METRIC as KL_DIVERGENCE
from quantize_lib.metrics.quantile import QuantileMetric


class _Percentile99(QuantileMetric):
    name = "kl_divergence_p99"
    order = 4
    title = "99th percentile of KL divergence"
    unit = "nats per token"
    description = "99th percentile over all predicted tokens of KL(base ‖ quantized)"
    compares = True
    of = KL_DIVERGENCE
    per_mille = 990


METRIC = _Percentile99()
