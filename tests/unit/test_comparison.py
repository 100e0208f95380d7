"""Which cells of a model are best at their size, and in which order they stand."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.metrics import METRICS, get_metric
from quantize_lib.report.comparison import best_cells, best_rule, by_model, leading_metric, short_labels
from quantize_lib.report.records import CellRecord
from tests.support.records import MEASURED, RECORD, RELOAD, TEXT, with_figure


def cell(name: str, size: int, kl: float | None, **changes: object) -> CellRecord:
    measured = with_figure(replace(MEASURED, size_after=size), "kl_divergence", after=kl)
    return replace(RECORD, id=name, **{"measurements": measured, **changes})  # type: ignore[arg-type]


def test_a_cell_is_best_where_no_other_is_as_small_and_as_good() -> None:
    cells = [
        cell("small", 100, 0.3),
        cell("beaten", 120, 0.4),
        cell("middle", 120, 0.2),
        cell("large", 200, 0.01),
    ]
    assert best_cells(cells) == {"small", "middle", "large"}


def test_two_cells_of_the_same_size_and_quality_do_not_beat_each_other() -> None:
    assert best_cells([cell("one", 100, 0.3), cell("other", 100, 0.3)]) == {"one", "other"}


def test_only_cells_of_one_model_on_one_text_are_compared() -> None:
    elsewhere = replace(MEASURED, size_after=200, evaluation=replace(TEXT, tokens_digest="0" * 64))
    cells = [
        cell("one", 100, 0.1),
        cell("other-model", 200, 0.2, model="acme/other"),
        replace(
            cell("other-text", 200, 0.2), measurements=with_figure(elsewhere, "kl_divergence", after=0.2)
        ),
    ]
    assert best_cells(cells) == {"one", "other-model", "other-text"}


def test_what_failed_missed_its_gate_or_was_not_reproduced_is_not_best() -> None:
    unproven = replace(MEASURED, size_after=50, reload=replace(RELOAD, reproduced=False))
    cells = [
        cell("good", 100, 0.1),
        cell("gated", 50, 0.1, status="gated"),
        cell("unproven", 50, 0.1, measurements=unproven),
        replace(RECORD, id="failed", status="failed", measurements=None),
        cell("unmeasured", 50, None),
    ]
    assert best_cells(cells) == {"good"}


def test_nothing_is_best_where_nothing_was_measured() -> None:
    bare = replace(RECORD, measurements=replace(MEASURED, figures={}, evaluation=None))
    assert leading_metric([bare]) is None
    assert best_cells([bare]) == frozenset()


def test_the_first_metric_that_compares_with_the_base_model_leads_and_the_rule_names_it() -> None:
    leading = leading_metric([RECORD])
    assert leading is next(metric for metric in METRICS.values() if metric.compares)
    assert leading is not None
    assert leading.title in best_rule(leading)
    only = replace(MEASURED, figures={"perplexity": MEASURED.figures["perplexity"]})
    assert leading_metric([replace(RECORD, measurements=only)]) is get_metric("perplexity")


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_every_cell_is_best_or_beaten_by_one_that_is(points: list[tuple[int, int]]) -> None:
    cells = [cell(str(number), size, float(kl)) for number, (size, kl) in enumerate(points)]
    best = {points[int(name)] for name in best_cells(cells)}
    for size, kl in points:
        assert any(s <= size and k <= kl for s, k in best)
        assert ((size, kl) in best) == (
            not any(s <= size and k <= kl and (s, k) != (size, kl) for s, k in points)
        )


def test_cells_stand_by_model_and_size_with_those_without_a_size_last() -> None:
    failed = replace(RECORD, id="failed", status="failed", measurements=None)
    cells = [failed, cell("b", 200, 0.1), cell("x", 1, 0.1, model="acme/other"), cell("a", 100, 0.1)]
    assert {model: [one.id for one in found] for model, found in by_model(cells).items()} == {
        RECORD.model: ["a", "b", "failed"],
        "acme/other": ["x"],
    }


def test_short_labels_leave_out_what_all_ids_begin_with() -> None:
    def labels(*ids: str) -> list[str]:
        return list(short_labels([replace(RECORD, id=one) for one in ids]).values())

    assert labels("M-1B-gptq-4bit", "M-1B-awq-4bit", "M-1B-w4a16") == ["gptq-4bit", "awq-4bit", "w4a16"]
    assert labels("M-gptq-4bit", "M-gptq-8bit") == ["4bit", "8bit"]
    assert labels("M-gptq-4bit") == ["M-gptq-4bit"]
    assert labels("one", "two") == ["one", "two"]
