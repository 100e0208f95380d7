"""The gate: the limits that a checkpoint must meet before it is published."""

from __future__ import annotations

import math
from collections.abc import Mapping

from quantize_lib.plan.cells import EvaluateSpec
from quantize_lib.report.records import Measurements


def check_gate(measurements: Measurements, spec: EvaluateSpec) -> tuple[str, ...]:
    """Why the gate was missed, one reason a line; empty where it was met or the manifest sets no limit.

    A figure that is missing or not finite misses its limit, and so does every figure that the reload from
    disk did not reproduce.
    """
    if spec.max_perplexity_increase is None and spec.max_kl_divergence is None:
        return ()
    reasons = [*_unproven(measurements)]
    if spec.max_perplexity_increase is not None:
        reasons += _perplexity(measurements, spec.max_perplexity_increase)
    if spec.max_kl_divergence is not None:
        reasons += _kl_divergence(measurements, spec.max_kl_divergence)
    return tuple(reasons)


def limits(spec: EvaluateSpec) -> dict[str, float]:
    """The limits that are set, by their names in the manifest; `spec_of` makes the same gate of them."""
    values = {
        "max_perplexity_increase": spec.max_perplexity_increase,
        "max_kl_divergence": spec.max_kl_divergence,
    }
    return {name: value for name, value in values.items() if value is not None}


def spec_of(kept: Mapping[str, float]) -> EvaluateSpec:
    """The gate again from what `limits` kept of it."""
    return EvaluateSpec(
        max_perplexity_increase=kept.get("max_perplexity_increase"),
        max_kl_divergence=kept.get("max_kl_divergence"),
    )


def _unproven(measurements: Measurements) -> list[str]:
    reload = measurements.reload
    if reload is None:
        return ["the figures were not checked by a reload from disk"]
    if reload.reproduced:
        return []
    said = [
        f"{name} {_number(reloaded)} instead of {_number(expected)}"
        for name, reloaded, expected in (
            ("perplexity", reload.sample_perplexity, reload.sample_perplexity_pass),
            ("KL divergence", reload.sample_kl_divergence, reload.sample_kl_divergence_pass),
        )
        if expected is not None
    ]
    details = f" ({', '.join(said)} on the sample)" if said else ""
    return [f"the reload from disk did not reproduce the figures{details}"]


def _perplexity(measurements: Measurements, limit: float) -> list[str]:
    before, after = measurements.perplexity_before, measurements.perplexity_after
    if before is None or after is None:
        name = "base model's perplexity" if before is None else "perplexity"
        return [f"the {name} was not measured, and max_perplexity_increase is set"]
    if not math.isfinite(before) or not math.isfinite(after):
        return [f"the perplexity is not finite ({_number(before)} → {_number(after)})"]
    if before <= 0:
        return [f"the base model's perplexity is not positive ({_number(before)})"]
    increase = after / before - 1
    if increase <= limit:
        return []
    return [
        f"perplexity rose by {_percent(increase, limit)} ({before:.2f} → {after:.2f}), "
        f"more than the allowed {limit * 100:g}%"
    ]


def _kl_divergence(measurements: Measurements, limit: float) -> list[str]:
    value = measurements.kl_divergence
    if value is None:
        return ["the KL divergence was not measured, and max_kl_divergence is set"]
    if not math.isfinite(value):
        return [f"the KL divergence is not finite ({value})"]
    if value <= limit:
        return []
    return [f"KL divergence is {_number(value)} nats per token, more than the allowed {limit:g}"]


def _percent(increase: float, limit: float) -> str:
    """With one decimal, or as many as it takes to differ from the limit."""
    short = f"{increase * 100:.1f}"
    return f"{short}%" if float(short) > limit * 100 else f"{increase * 100:.6g}%"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
