"""Figures of repeated runs, gathered over processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantize_lib.benchmark.comparison import bases_of, reduction, speed_up
from quantize_lib.benchmark.records import Answer, Case, Result, Spread
from quantize_lib.benchmark.words import between, busy_words, rate, seconds, smaller
from tests.support.benchmarks import ANSWER, BASE, CASES, QUANTIZED, RESULTS

CASE = Case(prompt_length=8, batch_size=2, first_token_seconds=(1.0,), tokens_per_second=(10.0,))


def test_half_of_the_runs_lie_between_the_quartiles() -> None:
    spread = Spread(values=(5.0, 1.0, 2.0, 4.0, 3.0))
    assert (spread.median, spread.quartiles) == (3.0, (2.0, 4.0))
    assert Spread(values=(7.0,)).quartiles == (7.0, 7.0)


def test_a_case_has_the_runs_of_all_processes_in_their_order() -> None:
    second = replace(CASE, first_token_seconds=(3.0,), tokens_per_second=(20.0,))
    result = Result(subject=BASE, answers=(Answer(cases=(CASE,)), Answer(cases=(second,))))
    (case,) = result.cases
    assert case.first_token_seconds == (1.0, 3.0)
    assert case.tokens_per_second == (10.0, 20.0)


def test_a_process_that_ended_early_leaves_its_runs_and_no_peak_of_memory() -> None:
    ended = replace(ANSWER, cases=CASES[:1], error="its process was ended by signal 9")
    result = Result(subject=BASE, answers=(ANSWER, ended))
    assert (result.status, result.ended, result.error) == ("failed", True, ended.error)
    assert len(result.cases[0].tokens_per_second) == 4
    peak = result.peak_memory
    assert peak is not None
    assert peak.values == (ANSWER.peak_memory_bytes,)


def test_a_case_that_failed_is_named_and_lets_the_others_be_measured_again() -> None:
    failed = replace(CASE, error="out of memory")
    result = Result(subject=BASE, answers=(Answer(cases=(failed,)),))
    assert (result.status, result.ended) == ("failed", False)
    assert result.error == "2 × 8 tokens: out of memory"
    assert Result(subject=BASE, answers=(replace(ANSWER, cases=(failed,)),)).peak_memory is None


def test_a_subject_without_a_process_was_not_started() -> None:
    assert Result(subject=BASE).status == "not_started"


def test_a_checkpoint_is_compared_with_its_base_in_times() -> None:
    base, quantized = RESULTS
    assert bases_of(RESULTS) == {QUANTIZED.name: base}
    found = reduction(quantized, base)
    assert found.by_bits == 4.0
    assert found.size == pytest.approx(2.69)
    assert found.peak_memory == pytest.approx(9 / 7)
    assert found.model_memory == pytest.approx(2.0)
    assert speed_up(quantized.cases[0], base.cases[0]) == pytest.approx(1.5)


def test_what_was_not_measured_is_compared_with_nothing() -> None:
    base, _ = RESULTS
    found = reduction(Result(subject=replace(QUANTIZED, bits=None, size_bytes=0)), base)
    assert (found.by_bits, found.size, found.peak_memory, found.model_memory) == (None,) * 4


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0081, "8.10 ms"), (0.85, "850 ms"), (0.99999, "1.00 s"), (12.34, "12.3 s"), (1000.0, "16 min 40 s")],
)
def test_seconds_have_three_digits(value: float, words: str) -> None:
    assert seconds(value) == words


def test_a_unit_that_all_figures_have_is_said_once_and_equal_figures_once() -> None:
    assert between(Spread(values=(0.010, 0.012, 0.014)), seconds) == "12.0 ms (11.0 to 13.0)"
    assert between(Spread(values=(0.9, 1.1)), seconds) == "1.00 s (950 ms to 1.05 s)"
    assert between(Spread(values=(20.0, 20.001)), rate) == "20.0"


def test_what_takes_more_than_the_base_is_called_larger() -> None:
    assert (smaller(2.0), smaller(0.5), smaller(None)) == ("2.00× smaller", "2.00× larger", "")


def test_a_machine_is_busy_where_others_take_half_of_its_cores() -> None:
    assert busy_words(0.9, 2) is None
    assert busy_words(None, 2) is None
    assert "1.0 on 2 cores" in (busy_words(1.0, 2) or "")
