"""What is written of a benchmark: JSON, a table, a page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.benchmark.document import benchmark_json, benchmark_schema
from quantize_lib.benchmark.page import benchmark_page
from quantize_lib.benchmark.records import Protocol, Result
from quantize_lib.benchmark.run import Request, run_benchmark
from quantize_lib.benchmark.table import benchmark_table
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.files import write_json
from tests.support.benchmarks import ANSWER, BASE, CASES, QUANTIZED, RESULTS, benchmark
from tests.support.model_files import write_shard

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\u202e"
FAILED = Result(
    subject=replace(QUANTIZED, name=HOSTILE, kind=HOSTILE),
    answers=(replace(ANSWER, cases=CASES[:1], error=HOSTILE),),
)


def test_the_document_follows_its_schema_finished_or_not() -> None:
    schema = benchmark_schema()
    Draft202012Validator.check_schema(schema)
    waiting = Result(subject=replace(QUANTIZED, name="waiting"))
    document = benchmark_json(benchmark(FAILED, waiting))
    Draft202012Validator(schema).validate(document)
    assert [one["status"] for one in document["checkpoints"]] == [
        "measured",
        "measured",
        "failed",
        "not_started",
    ]


def test_the_document_has_every_run_and_the_reduction() -> None:
    base, quantized, failed = benchmark_json(benchmark(FAILED))["checkpoints"]
    assert base["reduction"] is None
    assert base["load_seconds"]["values"] == [2.0, 2.5]
    assert quantized["reduction"] == {
        "by_bits": 4.0,
        "size": 2.69,
        "peak_memory": 1.28571,
        "model_memory": 2.0,
    }
    assert quantized["cases"][0]["tokens_per_second"]["values"] == [30.0, 33.0, 30.0, 33.0]
    assert quantized["cases"][0]["speed_up"] == 1.5
    assert failed["peak_memory_bytes"] is None
    assert failed["cases"][0]["tokens_per_second"]["median"] == 21.0


def test_the_table_has_every_checkpoint_and_case_and_cannot_steer_a_terminal() -> None:
    table = benchmark_table([*RESULTS, FAILED])
    lines = table.splitlines()
    assert lines[3].split()[:5] == ["tiny-gptq-4bit", "4.00×", "100.0", "MB", "2.69×"]
    assert sum(line.startswith("tiny-gptq-4bit") for line in lines) == 1 + len(CASES)
    assert "\x1b" not in table
    assert "\u202e" not in table


def test_foreign_words_are_text_in_the_page() -> None:
    page = benchmark_page(benchmark(FAILED, prompts=(HOSTILE,)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 4
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_page_says_what_was_promised_and_what_was_measured() -> None:
    page = benchmark_page(replace(benchmark(), load_average=1e6))
    for words in ("4.00× smaller", "2.69× smaller", "1.29× smaller", "1.50×", "The machine was busy."):
        assert words in page
    assert page.count("<svg ") == 6


def test_the_page_of_a_benchmark_of_nothing_says_so() -> None:
    page = benchmark_page(replace(benchmark(), results=[Result(subject=BASE)]))
    assert "not started" in page
    assert "<svg " not in page


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "gpt2", "n_positions": 64})
    write_shard(tmp_path / "model.safetensors", {"transformer.wpe.weight": (64, 8)})
    request = Request(
        paths=[tmp_path],
        base=None,
        prompts=None,
        prompt_count=None,
        protocol=Protocol(prompt_lengths=(8, 60), new_tokens=5),
        output=tmp_path / "benchmark",
        command="x",
    )
    with pytest.raises(UsageError) as caught:
        run_benchmark(request, PlainReporter(io.StringIO()))
    assert "60 tokens and 5 new ones are more than the 64 positions" in caught.value.message
    assert caught.value.hint == "Say at most 59, or fewer --new-tokens."
    assert not (tmp_path / "benchmark").exists()
