"""The gate says in figures why a checkpoint is not published."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from quantize_lib.gate import check_gate, judge_limits
from quantize_lib.metrics import Figure, Outcome
from quantize_lib.report.records import TextFigures
from tests.support.records import MEASURED, RELOAD, TEXT, with_figure, with_sample

LIMITS = {"max_perplexity_increase": 0.15, "max_kl_divergence": 0.2}


def test_figures_within_the_limits_meet_the_gate() -> None:
    assert check_gate(MEASURED, LIMITS) == ()


def test_a_figure_exactly_at_its_limit_meets_it() -> None:
    exact = with_figure(MEASURED, "perplexity", before=2.0, after=2.5)
    exact = with_figure(exact, "kl_divergence", after=0.2)
    assert check_gate(exact, {"max_perplexity_increase": 0.25, "max_kl_divergence": 0.2}) == ()


def test_a_miss_says_by_how_much() -> None:
    bad = with_figure(MEASURED, "perplexity", after=39.85)
    bad = with_figure(bad, "kl_divergence", after=0.31)
    assert check_gate(bad, LIMITS) == (
        "perplexity rose by 23.1% (32.37 → 39.85), more than the allowed 15%",
        "KL divergence is 0.31 nats per token, more than the allowed 0.2",
    )


def test_what_is_met_or_missed_within_the_standard_error_says_so() -> None:
    near = with_figure(MEASURED, "kl_divergence", after=0.203)
    (missed,) = check_gate(near, {"max_kl_divergence": 0.2})
    assert missed == (
        "KL divergence is 0.203 nats per token, more than the allowed 0.2, though within the standard error "
        "of 0.004"
    )
    (met,) = judge_limits(with_figure(MEASURED, "kl_divergence", after=0.199), {"max_kl_divergence": 0.2})
    assert (met.outcome, met.text) == (
        Outcome.MET_WITHIN_ERROR,
        "KL divergence is 0.199 nats per token, at most 0.2 is allowed: met, but only within the standard "
        "error of 0.004",
    )


def test_a_near_miss_does_not_read_as_equal() -> None:
    near = with_figure(MEASURED, "perplexity", before=100.0, after=115.001)
    (reason,) = check_gate(near, {"max_perplexity_increase": 0.15})
    assert reason.startswith("perplexity rose by 15.001%")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "part", "named"),
    [
        ("perplexity", "before", "perplexity"),
        ("perplexity", "after", "the perplexity"),
        ("kl_divergence", "after", "KL divergence"),
    ],
)
def test_a_metric_that_is_missing_or_not_finite_is_missed(
    name: str, part: str, named: str, value: float | None
) -> None:
    (reason,) = check_gate(with_figure(MEASURED, name, **{part: value}), LIMITS)
    assert named in reason


def test_figures_that_the_reload_did_not_reproduce_do_not_count() -> None:
    reload = with_sample(replace(RELOAD, reproduced=False), "perplexity", reloaded=2918.4)
    broken = replace(MEASURED, reload=reload)
    (reason,) = check_gate(broken, LIMITS)
    assert reason == (
        "the reload from disk did not reproduce the figures "
        "(perplexity 2918 instead of 36, KL divergence 0.11 instead of 0.11 on the sample)"
    )


def test_figures_without_a_reload_do_not_count() -> None:
    assert check_gate(replace(MEASURED, reload=None), LIMITS) == (
        "the figures were not checked by a reload from disk",
    )


def test_without_limits_there_is_no_gate() -> None:
    nothing = replace(with_figure(MEASURED, "perplexity", after=math.nan), reload=None)
    assert check_gate(nothing, {}) == ()


def test_a_limit_that_only_another_version_knows_is_missed() -> None:
    (reason,) = check_gate(MEASURED, {**LIMITS, "max_confusion": 1.0})
    assert reason == "max_confusion is set, and this version has no such limit"


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert check_gate(MEASURED, {"max_kl_divergence": 0.0}) == (
        "KL divergence is 0.1123 nats per token, more than the allowed 0",
    )


def test_a_limit_on_size_is_judged_by_the_weights_and_needs_no_text() -> None:
    bare = replace(MEASURED, figures={}, evaluation=None, reload=None, size_after=118_000_000)
    assert check_gate(bare, {"max_size": 118_000_000.0}) == ()
    assert check_gate(bare, {"max_size": 100_000_000.0}) == (
        "the weights take 118.0 MB, more than the allowed 100.0 MB",
    )
    (reason,) = check_gate(bare, {"max_size": 117_999_999.0})
    assert reason == "the weights take 118000000 bytes, more than the allowed 118.0 MB"


def test_a_limit_on_a_further_text_is_judged_by_the_figures_on_that_text() -> None:
    on_code = TextFigures(text=TEXT, figures={"kl_divergence": Figure(after=0.5, standard_error=0.01)})
    measured = replace(MEASURED, texts={"code": on_code})
    limits = {"texts.code.max_kl_divergence": 0.4, "max_kl_divergence": 0.2}
    assert [one.key for one in judge_limits(measured, limits)] == [
        "max_kl_divergence",
        "texts.code.max_kl_divergence",
    ]
    assert check_gate(measured, limits) == (
        "on code: KL divergence is 0.5 nats per token, more than the allowed 0.4",
    )
    assert check_gate(MEASURED, limits) == (
        "on code: the KL divergence was not measured, and max_kl_divergence is set",
    )
