"""A benchmark of figures that were not measured, for tests of what is written of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quantize_lib.benchmark.document import Benchmark
from quantize_lib.benchmark.records import Answer, Case, Prompts, Protocol, Result, Subject

STARTED = datetime(2026, 11, 29, 12, tzinfo=UTC)
CASES = tuple(
    Case(
        prompt_length=length,
        batch_size=batch,
        first_token_seconds=(length * batch / 4000, length * batch / 3900),
        tokens_per_second=(20.0 * batch, 22.0 * batch),
    )
    for length in (32, 128, 512)
    for batch in (1, 4)
)
ANSWER = Answer(
    device="cpu",
    device_name="A processor",
    threads=2,
    loader="transformers",
    dtype="bfloat16",
    load_seconds=2.0,
    memory_before_bytes=500_000_000,
    peak_memory_bytes=900_000_000,
    cases=CASES,
)
BASE = Subject(
    name="tiny", folder=Path("/models/tiny"), kind="full precision", bits=None, size_bytes=269_000_000
)
QUANTIZED = Subject(
    name="tiny-gptq-4bit",
    folder=Path("/output/tiny-gptq-4bit"),
    kind="GPTQ, 4 bits",
    bits=4,
    size_bytes=100_000_000,
    base="tiny",
)
LESS = replace(
    ANSWER,
    load_seconds=4.0,
    peak_memory_bytes=700_000_000,
    cases=tuple(
        replace(case, tokens_per_second=tuple(1.5 * value for value in case.tokens_per_second))
        for case in CASES
    ),
)
RESULTS = (
    Result(subject=BASE, answers=(ANSWER, replace(ANSWER, load_seconds=2.5))),
    Result(subject=QUANTIZED, answers=(LESS, replace(LESS, load_seconds=3.0))),
)


def benchmark(*more: Result, prompts: tuple[str, ...] = ("Call me Ishmael.",)) -> Benchmark:
    """A finished benchmark of a base model and a checkpoint, and more."""
    return Benchmark(
        started=STARTED,
        finished=STARTED,
        command="model-quantizer benchmark output",
        load_average=None,
        protocol=Protocol(rounds=2, repeats=2),
        prompts=Prompts(source="built in", texts=prompts),
        results=(*RESULTS, *more),
    )
