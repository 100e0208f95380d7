"""What holds for every metric, whichever it is."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from quantize_lib.card.figures import all_words, figures, measured_words
from quantize_lib.gate import check_gate, judge_limits
from quantize_lib.logits import Predictions
from quantize_lib.manifest.schema import manifest_schema
from quantize_lib.metrics import COMPARED, LIMITS, MEANS, METRICS, Figure, Limit, MeanMetric, Metric, Outcome
from quantize_lib.plan.cells import HELD_OUT
from quantize_lib.precision import Precision
from quantize_lib.report import record_from_json, record_to_json, summary_table
from quantize_lib.report.report_schema import report_schema
from tests.support.records import MEASURED, RECORD, RELOAD

BATCH, LENGTH, VOCABULARY = 6, 33, 40
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
EVERY = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
EVERY_MEAN = pytest.mark.parametrize("metric", MEANS.values(), ids=MEANS)
EVERY_LIMIT = pytest.mark.parametrize(("metric", "limit"), LIMITS.values(), ids=LIMITS)


def tensors() -> Tensors:
    """Logits of a base model, of one that differs a little, and token ids."""
    generator = torch.Generator().manual_seed(5)
    base = torch.randn(BATCH, LENGTH, VOCABULARY, generator=generator) * 2
    # Sequences of their own difficulty, as texts are.
    base *= torch.linspace(0.3, 2.0, BATCH)[:, None, None]
    logits = base + torch.randn(base.shape, generator=generator) * 0.3
    return base, logits, torch.randint(VOCABULARY, (BATCH, LENGTH), generator=generator)


def values_of(metric: Metric) -> torch.Tensor:
    return _values(metric, *tensors())


def _values(metric: Metric, base: torch.Tensor, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    compared = Predictions(base) if metric.compares else None
    return MEANS[metric.values_of].per_token(Predictions(logits), compared, ids)


@EVERY_MEAN
def test_there_is_a_float32_value_for_each_predicted_token_that_depends_on_it_alone(
    metric: MeanMetric,
) -> None:
    base, logits, ids = tensors()
    whole = values_of(metric)
    assert (whole.shape, whole.dtype) == ((BATCH, LENGTH - 1), torch.float32)
    part = _values(metric, base[2:3], logits[2:3], ids[2:3])
    assert torch.equal(part, whole[2:3])
    half = _values(metric, base[:, :9], logits[:, :9], ids[:, :9])
    assert torch.allclose(half, whole[:, :8])


@EVERY
def test_its_names_are_its_own(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    schema = report_schema()["$defs"]
    for key in metric.keys:
        assert schema["cell"]["properties"][key]["x-metrics"] == [metric.name]
    for key in _sample_keys(metric):
        assert schema["reload"]["properties"][key]["x-metrics"] == [metric.name]
    others = [one for one in METRICS.values() if one is not metric]
    taken = {key for one in others for key in (*one.keys, *_sample_keys(one))}
    assert not taken & {*metric.keys, *_sample_keys(metric)}
    if metric.limit is not None:
        assert LIMITS[metric.limit.key] == (metric, metric.limit)
        assert metric.limit.key != HELD_OUT
    assert metric.title
    assert metric.unit
    assert metric.description


def _sample_keys(metric: Metric) -> tuple[str, ...]:
    return COMPARED[metric.name].sample_keys if metric.name in COMPARED else ()


@EVERY
def test_its_values_are_its_own_or_those_of_another_that_sees_the_same(metric: Metric) -> None:
    owner = MEANS[metric.values_of]
    assert owner.compares == metric.compares
    assert (owner is metric) == isinstance(metric, MeanMetric)
    values = values_of(metric)
    assert metric.measured(values).after == metric.of_values(values)


@EVERY_MEAN
def test_the_figure_is_made_of_the_mean_over_all_tokens(metric: MeanMetric) -> None:
    values = values_of(metric)
    mean = sum(map(float, values.flatten())) / values.numel()
    assert metric.mean(values) == pytest.approx(mean, rel=1e-9)
    assert float(metric.sequence_means(values).mean()) == pytest.approx(mean, rel=1e-9)
    figure = metric.measured(values, None if metric.compares else values)
    assert figure.after == metric.figure(metric.mean(values))
    assert figure.before == (None if metric.compares else figure.after)


@EVERY_MEAN
def test_the_slope_is_the_figure_s(metric: MeanMetric) -> None:
    mean = metric.mean(values_of(metric))
    step = 1e-6
    slope = (metric.figure(mean + step) - metric.figure(mean - step)) / (2 * step)
    assert metric.slope(mean) == pytest.approx(slope, rel=1e-4)


@EVERY
def test_the_standard_error_is_that_of_other_sequences_drawn_from_these(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(60, LENGTH, VOCABULARY, generator=generator)
    base *= torch.rand(60, 1, 1, generator=generator) + 0.5
    logits = base + torch.randn(base.shape, generator=generator) * 0.2
    ids = torch.randint(VOCABULARY, (60, LENGTH), generator=generator)
    values = _values(metric, base, logits, ids)
    drawn = torch.tensor(
        [metric.of_values(values[torch.randint(60, (60,), generator=generator)]) for _ in range(1000)]
    )
    assert metric.standard_error(values) == pytest.approx(float(drawn.std()), rel=0.15)


@EVERY
def test_one_sequence_has_no_standard_error_and_equal_ones_have_none_to_speak_of(metric: Metric) -> None:
    values = values_of(metric)
    assert metric.measured(values[:1]).standard_error is None
    assert metric.standard_error(values[:1].repeat(4, 1)) == pytest.approx(0, abs=1e-9)


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_figure(metric: Metric, value: float) -> None:
    values = values_of(metric)
    values[1, 2] = value
    assert not math.isfinite(metric.of_values(values))
    assert metric.measured(values, None if metric.compares else values) == Figure()


@pytest.mark.parametrize("metric", COMPARED.values(), ids=COMPARED)
def test_a_reload_has_a_tolerance_at_every_precision_that_only_grows(metric: MeanMetric) -> None:
    assert metric.compared
    allowed = [metric.tolerances[precision] for precision in Precision]
    for finer, coarser in pairwise(allowed):
        assert 0 < finer.absolute <= coarser.absolute
        assert 0 <= finer.relative <= coarser.relative
    for tolerance in allowed:
        assert tolerance.allows(1.0, 1.0)
        assert not tolerance.allows(1.5, 1.0)
        assert not tolerance.allows(math.nan, 1.0)
        assert not tolerance.allows(math.inf, math.inf)


def _missing(metric: Metric) -> list[Figure]:
    whole = metric.measured(values_of(metric), None if metric.compares else values_of(metric))
    wrong: list[dict[str, Any]] = [
        {part: value} for part in metric.keys.values() for value in (None, math.nan, math.inf, -math.inf)
    ]
    return [replace(whole, **changes) for changes in wrong]


@EVERY_LIMIT
def test_what_is_missing_or_not_finite_misses_the_loosest_limit(metric: Metric, limit: Limit) -> None:
    for figure in [Figure(), *_missing(metric)]:
        for value in (0.0, 1.0, 1e9):
            assert limit.judge(figure, value).outcome is Outcome.MISSED, f"{figure} meets {value}"


@EVERY_LIMIT
def test_its_examples_are_limits_that_it_takes_and_an_own_figure_is_judged(
    metric: Metric, limit: Limit
) -> None:
    words = {**limit.words}
    schema = manifest_schema()["$defs"]["evaluate"]["properties"][limit.key]
    assert {key: schema[key] for key in words} == words
    for written in words["examples"]:
        Draft202012Validator(schema).validate(written)
        value = limit.parse(written)
        assert isinstance(value, float)
        assert math.isfinite(value)
        figure = metric.measured(values_of(metric), None if metric.compares else values_of(metric))
        verdict = limit.judge(figure, value)
        assert verdict.key == limit.key
        assert verdict.text
        assert verdict.text.isprintable()


@EVERY_LIMIT
def test_it_is_met_to_the_dot_whatever_the_error_which_says_how_surely(metric: Metric, limit: Limit) -> None:
    figure = Figure(before=2.0, after=0.5, standard_error=0.125, increase_error=0.125)
    value = limit.estimate(figure).value
    sign = -1 if limit.is_least else 1
    outcomes = [
        limit.judge(figure, value + sign * slack).outcome for slack in (0.25, 0.125, 0.0, -0.0625, -0.25)
    ]
    assert outcomes == [
        Outcome.MET,
        Outcome.MET_WITHIN_ERROR,
        Outcome.MET_WITHIN_ERROR,
        Outcome.MISSED_WITHIN_ERROR,
        Outcome.MISSED,
    ]
    unknown = replace(figure, standard_error=None, increase_error=None)
    for slack, outcome in ((0.0625, Outcome.MET), (-0.0625, Outcome.MISSED)):
        assert limit.judge(unknown, value + sign * slack).outcome is outcome
    near = limit.judge(figure, value - sign * 0.0625).text
    assert "within the standard error" in near
    assert metric.title in near


@EVERY_LIMIT
def test_the_gate_asks_it_and_nothing_else(metric: Metric, limit: Limit) -> None:
    for figure in (Figure(), metric.measured(values_of(metric), values_of(metric))):
        judged = replace(MEASURED, figures={**MEASURED.figures, metric.name: figure})
        verdict = limit.judge(figure, 0.0)
        assert judge_limits(judged, {limit.key: 0.0}) == (verdict,)
        assert check_gate(judged, {limit.key: 0.0}) == (() if verdict.outcome.met else (verdict.text,))


@EVERY
def test_card_and_table_show_it_and_leave_out_what_is_not_there(metric: Metric) -> None:
    figure = metric.measured(values_of(metric), None if metric.compares else values_of(metric))
    row = metric.row(figure)
    assert row is not None
    assert all(part.isprintable() and part and "|" not in part for part in row)
    record = replace(RECORD, measurements=replace(MEASURED, figures={metric.name: figure}))
    assert row in figures(record)
    if metric.column:
        assert metric.cell(figure) in summary_table([record]).splitlines()[2]
        assert metric.column in summary_table([record]).splitlines()[0]
    if isinstance(metric, MeanMetric):
        assert measured_words(replace(MEASURED, figures={metric.name: figure})).startswith(metric.heading)
        assert metric.title.lower() in all_words().lower()
    assert metric.row(Figure()) is None
    assert metric.cell(Figure()) == ""


@EVERY
@pytest.mark.parametrize("figure", [Figure(), Figure(before=2.0, after=3.0, standard_error=0.5)])
def test_it_comes_back_from_a_report_with_its_flat_keys_or_from_them_alone(
    metric: Metric, figure: Figure
) -> None:
    if metric.compares:
        figure = replace(figure, before=None)
    record = replace(RECORD, measurements=replace(MEASURED, figures={metric.name: figure}))
    data: dict[str, Any] = json.loads(json.dumps(record_to_json(record), allow_nan=False))
    assert record_from_json(data) == record
    assert {key: data[key] for key in metric.keys} == {
        key: getattr(figure, part) for key, part in metric.keys.items()
    }
    assert data["figures"][metric.name]["unit"] == metric.unit
    assert set(_sample_keys(metric)) <= data["reload"].keys()
    del data["figures"]
    again = record_from_json(data).measurements
    assert again is not None
    assert again.figure(metric) == replace(figure, standard_error=None)


@EVERY
def test_a_record_without_it_is_read_as_not_measured(metric: Metric) -> None:
    data = record_to_json(replace(RECORD, measurements=replace(MEASURED, reload=RELOAD)))
    for key in (*metric.keys, "figures"):
        del data[key]
    for key in _sample_keys(metric):
        del data["reload"][key]
    measured = record_from_json(data).measurements
    assert measured is not None
    assert measured.reload is not None
    assert measured.figure(metric) == Figure()
    assert metric.name not in measured.reload.sample
