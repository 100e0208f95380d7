"""The axis of metrics: what is measured on held-out text. One entry a file; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from quantize_lib.metrics.entry import NONE, Metric, Row
from quantize_lib.metrics.figure import Figure, number
from quantize_lib.metrics.limit import NO_WORSE_THAN, Estimate, Limit, Outcome, Verdict, limit_key, split_key
from quantize_lib.metrics.mean import MeanMetric, Tolerance
from quantize_lib.metrics.size_limit import SIZE_LIMIT
from quantize_lib.registry import find_entries, get_entry
from quantize_lib.wording import joined

__all__ = [
    "ALL_LIMITS",
    "COMPARED",
    "LIMITS",
    "MEANS",
    "METRICS",
    "NONE",
    "NO_WORSE_THAN",
    "SIZE_LIMIT",
    "Estimate",
    "Figure",
    "Limit",
    "MeanMetric",
    "Metric",
    "Outcome",
    "Row",
    "Tolerance",
    "Verdict",
    "get_metric",
    "limit_key",
    "listed",
    "number",
    "split_key",
]

METRICS = cast(Mapping[str, Metric], find_entries(__name__, __path__, "METRIC"))
"""By name, in the order in which they are listed."""
MEANS: Mapping[str, MeanMetric] = {
    name: metric for name, metric in METRICS.items() if isinstance(metric, MeanMetric)
}
"""Those with values of their own per token: what the pass accumulates."""
COMPARED: Mapping[str, MeanMetric] = {name: metric for name, metric in MEANS.items() if metric.tolerances}
"""Those whose mean a reload has to reproduce."""
LIMITS: Mapping[str, tuple[Metric, Limit]] = {
    metric.limit.key: (metric, metric.limit) for metric in METRICS.values() if metric.limit is not None
}
"""The metrics that a manifest can set a limit on, by the limit's key."""
ALL_LIMITS: Mapping[str, Limit] = {
    **{key: limit for key, (_, limit) in LIMITS.items()},
    SIZE_LIMIT.key: SIZE_LIMIT,
}
"""Every limit that a manifest can set, by its key."""


def get_metric(name: str) -> Metric:
    """The entry of that name.

    Raises:
        KeyError: where there is none, with the names that there are and the nearest.
    """
    return get_entry(METRICS, name, "metric")


def listed(metrics: Iterable[Metric], *, details: bool = False) -> str:
    """Metrics within a sentence: `perplexity and KL divergence`.

    Args:
        details: whether each is followed by its own.
    """
    return joined(f"{one.title} {one.detail}".rstrip() if details else one.title for one in metrics)
