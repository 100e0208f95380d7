"""The gate says in figures why a checkpoint is not published."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from quantize_lib.gate import check_gate, limits, spec_of
from quantize_lib.job.records import Reload
from quantize_lib.plan.cells import EvaluateSpec
from quantize_lib.report.records import Measurements

RELOAD = Reload(
    load_seconds=1.0,
    peak_memory_bytes=1,
    prompt="The",
    generated=" end",
    base_generated=" end",
    sample_tokens=512,
    sample_perplexity=36.0,
    sample_perplexity_pass=36.0,
    sample_kl_divergence=0.1,
    sample_kl_divergence_pass=0.1,
    reproduced=True,
    dtype="float32",
)
MEASURED = Measurements(
    size_before=100,
    size_after=50,
    seconds=1.0,
    peak_memory_bytes=1,
    perplexity_before=32.37,
    perplexity_after=36.05,
    kl_divergence=0.11,
    reload=RELOAD,
)
LIMITS = EvaluateSpec(max_perplexity_increase=0.15, max_kl_divergence=0.2)


def test_figures_within_the_limits_meet_the_gate() -> None:
    assert check_gate(MEASURED, LIMITS) == ()


def test_a_figure_exactly_at_its_limit_meets_it() -> None:
    exact = replace(MEASURED, perplexity_before=2.0, perplexity_after=2.5, kl_divergence=0.2)
    assert check_gate(exact, EvaluateSpec(max_perplexity_increase=0.25, max_kl_divergence=0.2)) == ()


def test_a_miss_says_by_how_much() -> None:
    bad = replace(MEASURED, perplexity_after=39.85, kl_divergence=0.31)
    assert check_gate(bad, LIMITS) == (
        "perplexity rose by 23.1% (32.37 → 39.85), more than the allowed 15%",
        "KL divergence is 0.31 nats per token, more than the allowed 0.2",
    )


def test_a_near_miss_does_not_read_as_equal() -> None:
    near = replace(MEASURED, perplexity_before=100.0, perplexity_after=115.001)
    (reason,) = check_gate(near, EvaluateSpec(max_perplexity_increase=0.15))
    assert reason.startswith("perplexity rose by 15.001%")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("perplexity_before", "perplexity"),
        ("perplexity_after", "the perplexity"),
        ("kl_divergence", "KL divergence"),
    ],
)
def test_a_metric_that_is_missing_or_not_finite_is_missed(
    field: str, named: str, value: float | None
) -> None:
    values: dict[str, Any] = {field: value}
    (reason,) = check_gate(replace(MEASURED, **values), LIMITS)
    assert named in reason


def test_figures_that_the_reload_did_not_reproduce_do_not_count() -> None:
    broken = replace(MEASURED, reload=replace(RELOAD, reproduced=False, sample_perplexity=2918.4))
    (reason,) = check_gate(broken, LIMITS)
    assert reason == (
        "the reload from disk did not reproduce the figures "
        "(perplexity 2918 instead of 36, KL divergence 0.1 instead of 0.1 on the sample)"
    )


def test_figures_without_a_reload_do_not_count() -> None:
    assert check_gate(replace(MEASURED, reload=None), LIMITS) == (
        "the figures were not checked by a reload from disk",
    )


def test_without_limits_there_is_no_gate() -> None:
    nothing = replace(MEASURED, perplexity_after=math.nan, reload=None)
    assert check_gate(nothing, EvaluateSpec()) == ()


def test_limits_can_be_kept_and_make_the_same_gate_again() -> None:
    assert limits(LIMITS) == {"max_perplexity_increase": 0.15, "max_kl_divergence": 0.2}
    assert limits(EvaluateSpec(max_kl_divergence=0.0)) == {"max_kl_divergence": 0.0}
    bad = replace(MEASURED, perplexity_after=39.85)
    assert check_gate(bad, spec_of(limits(LIMITS))) == check_gate(bad, LIMITS)
