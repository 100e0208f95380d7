"""A figure with its standard error, in words."""

from __future__ import annotations

import math

from quantize_lib.metrics.entry import Metric
from quantize_lib.metrics.figure import Figure, with_error


def cell_with_error(metric: Metric, figure: Figure) -> str:
    """What tables show of a figure, with its standard error where that is known: `0.1123 ± 0.0040`."""
    text = metric.cell(figure)
    error = figure.standard_error
    if not text or not error or not math.isfinite(error):
        return text
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return with_error(text, f"{error:.{decimals}f}")
