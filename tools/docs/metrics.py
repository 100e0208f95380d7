"""The metrics: what they are, and how far a reload may be from the pass."""

from __future__ import annotations

from quantize_lib.metrics import COMPARED, METRICS, Metric, Tolerance
from quantize_lib.precision import Precision
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`metrics`, and `tolerances` by precision."""
    return {
        "metrics": table(
            ("Metric", "Unit", "What it is", "Limit"), (_row(metric) for metric in METRICS.values())
        ),
        "tolerances": table(
            ("Loaded in", *(_sentence(metric.compared) for metric in COMPARED.values())),
            (
                (precision.meaning, *(_allowed(one.tolerances[precision]) for one in COMPARED.values()))
                for precision in Precision
            ),
        ),
    }


def _row(metric: Metric) -> list[str]:
    limit = "" if metric.limit is None else code(metric.limit.key)
    return [code(metric.name), metric.unit, _sentence(metric.description), limit]


def _allowed(tolerance: Tolerance) -> str:
    relative = f" + {tolerance.relative:.0%}" if tolerance.relative else ""
    return f"{tolerance.absolute:g}{relative}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
