"""`benchmark.json`: everything that was asked and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from quantize_lib.benchmark.comparison import bases_of, cases_of, reduction, speed_up
from quantize_lib.benchmark.machine import machine
from quantize_lib.benchmark.records import Case, Prompts, Protocol, Result, Spread
from quantize_lib.benchmark.through import LOADER
from quantize_lib.files import finite
from quantize_lib.schemas import completed
from quantize_lib.versions import versions

DOCUMENT_FILE = "benchmark.json"
_DIGITS = 6
"""Significant ones: a clock's noise is far above."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark, finished or on its way.

    Attributes:
        started, finished: with a time zone.
        command: the command line that does the same again.
        load_average: of the machine in the minute before; None where the system does not tell.
        results: each base model before what is compared with it.
    """

    started: datetime
    finished: datetime
    command: str
    load_average: float | None
    protocol: Protocol
    prompts: Prompts
    results: Sequence[Result]


def benchmark_schema() -> dict[str, Any]:
    """The schema of the document; callers do not change it."""
    return completed("benchmark")


def benchmark_json(benchmark: Benchmark) -> dict[str, Any]:
    """The document, as `schemas/benchmark.schema.json` says."""
    bases = bases_of(benchmark.results)
    return {
        "version": 1,
        "started": benchmark.started.isoformat(timespec="seconds"),
        "finished": benchmark.finished.isoformat(timespec="seconds"),
        "command": benchmark.command,
        "versions": versions(),
        "machine": machine(),
        "load_average": benchmark.load_average,
        "protocol": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(benchmark.protocol).items()
        },
        "prompts": {"source": benchmark.prompts.source, "texts": list(benchmark.prompts.texts)},
        "checkpoints": [_checkpoint(result, bases) for result in benchmark.results],
    }


def _checkpoint(result: Result, bases: Mapping[str, Result]) -> dict[str, Any]:
    subject = result.subject
    base = bases.get(subject.name)
    others = {} if base is None else cases_of(base)
    return {
        "name": subject.name,
        "path": str(subject.folder),
        "kind": subject.kind,
        "bits": subject.bits,
        "base": subject.base,
        "through": LOADER if subject.through is None else subject.through.server,
        "status": result.status,
        "error": result.error,
        "device": result.said("device"),
        "device_name": result.said("device_name"),
        "threads": next((answer.threads for answer in result.answers if answer.threads), None),
        "loader": result.said("loader"),
        "dtype": result.said("dtype"),
        "size_bytes": subject.size_bytes,
        "load_seconds": _spread(result.load),
        "peak_memory_bytes": _spread(result.peak_memory),
        "model_memory_bytes": _spread(result.model_memory),
        "reduction": None
        if base is None
        else {key: _rounded(value) for key, value in asdict(reduction(result, base)).items()},
        "cases": [_case(case, others.get((case.prompt_length, case.batch_size))) for case in result.cases],
    }


def _case(case: Case, base: Case | None) -> dict[str, Any]:
    return {
        "prompt_length": case.prompt_length,
        "batch_size": case.batch_size,
        "first_token_seconds": _spread(case.first_token),
        "tokens_per_second": _spread(case.speed),
        "speed_up": _rounded(speed_up(case, base)),
        "error": case.error,
    }


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    if spread is None:
        return None
    first, third = spread.quartiles
    return {
        "median": _rounded(spread.median),
        "first_quartile": _rounded(first),
        "third_quartile": _rounded(third),
        "values": [_rounded(value) for value in spread.values],
    }


def _rounded(value: float | None) -> float | None:
    """Whole numbers, as of bytes, stay as they are."""
    if value is None or finite(value) is None:
        return None
    return value if float(value).is_integer() else float(f"{value:.{_DIGITS}g}")
