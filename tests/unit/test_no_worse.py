"""A checkpoint beside the one that was published before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest

from quantize_lib.gate import check_gate, judge_limits
from quantize_lib.metrics import MEANS, NO_WORSE_THAN, Figure, Outcome
from quantize_lib.no_worse import compare
from quantize_lib.report.records import Measurements, PublishedBefore, TextFigures
from tests.support.records import MEASURED, TEXT

KL = (0.1, 0.3, 0.2, 0.4)
SAME = (0.9, 0.8, 0.7, 0.95)


def measured(kl: Sequence[float] = KL, same: Sequence[float] = SAME) -> Measurements:
    """Every metric that compares gets these means by sequence; those of which more is better the second."""
    figures = {}
    for name, metric in MEANS.items():
        means = tuple(same if metric.more_is_better else kl)
        figures[name] = Figure(after=fmean(means), sequence_means=means)
    return replace(MEASURED, figures=figures)


def outcome(new: Measurements, old: Measurements) -> Outcome:
    return compare(new, PublishedBefore(measurements=old)).outcome


def test_the_same_figures_are_no_worse_and_better_ones_neither() -> None:
    assert outcome(measured(), measured()) is Outcome.MET
    assert outcome(measured([value - 0.01 for value in KL]), measured()) is Outcome.MET
    assert outcome(measured(same=[value + 0.01 for value in SAME]), measured()) is Outcome.MET


def test_what_is_worse_on_every_sequence_is_worse_however_unlike_the_sequences_are() -> None:
    """Unpaired, the difference would be a fifth of its error."""
    verdict = compare(measured([value + 0.01 for value in KL]), PublishedBefore(measurements=measured()))
    assert verdict.outcome is Outcome.MISSED
    start = "KL divergence is 0.26, that of the version published before 0.25, worse by 0.01 ± "
    assert verdict.text.startswith(start)
    assert outcome(measured(same=[value - 0.01 for value in SAME]), measured()) is Outcome.MISSED


def test_what_is_worse_within_the_error_of_the_difference_is_no_worse() -> None:
    mixed = [value + step for value, step in zip(KL, (0.04, -0.03, 0.03, -0.02), strict=True)]
    verdict = compare(measured(mixed), PublishedBefore(measurements=measured()))
    assert verdict.outcome is Outcome.MET_WITHIN_ERROR
    assert "worse by 0.005 ± 0.01756 (paired)" in verdict.text


def test_a_further_text_counts_where_both_were_measured_on_it() -> None:
    worse = measured([value + 0.01 for value in KL]).figures
    good = TextFigures(text=TEXT, figures=measured().figures)
    bad = TextFigures(text=TEXT, figures=worse)
    old = replace(measured(), texts={"code": good})
    verdict = compare(replace(measured(), texts={"code": bad}), PublishedBefore(measurements=old))
    assert verdict.outcome is Outcome.MISSED
    assert verdict.text.startswith("on code: KL divergence is 0.26")
    assert outcome(replace(measured(), texts={"code": bad}), measured()) is Outcome.MET


def test_other_text_and_a_report_without_sequences_cannot_be_compared() -> None:
    other = replace(measured(), evaluation=replace(TEXT, tokens_digest="0" * 64))
    verdict = compare(measured(), PublishedBefore(measurements=other))
    assert verdict.outcome is Outcome.MISSED
    assert "was measured on other text; measure on the same text, or leave no_worse_than out" in verdict.text
    verdict = compare(measured(), PublishedBefore(measurements=MEASURED))
    assert verdict.outcome is Outcome.MISSED
    assert "has no KL divergence by sequence" in verdict.text


@pytest.mark.parametrize(
    ("before", "met", "words"),
    [
        (PublishedBefore(), True, "nothing was published before"),
        (PublishedBefore(asked=False), True, "when it is to be published"),
        (PublishedBefore(fault="the Hub is gone"), False, "cannot be looked at: the Hub is gone"),
    ],
)
def test_without_a_version_before_the_limit_says_why_it_is_met_or_missed(
    before: PublishedBefore, met: bool, words: str
) -> None:
    (verdict,) = judge_limits(MEASURED, {NO_WORSE_THAN: 0.0}, before)
    assert verdict.outcome.met == met
    assert words in verdict.text
    assert check_gate(MEASURED, {NO_WORSE_THAN: 0.0}, before) == (() if met else (verdict.text,))
