"""A benchmark in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantize_lib.benchmark.comparison import Reduction, bases_of, cases_of, reduction, speed_up
from quantize_lib.benchmark.records import Result
from quantize_lib.benchmark.words import MISSING, between, median, rate, seconds, size, times
from quantize_lib.text import plain

_NOTHING = Reduction()


def benchmark_table(results: Sequence[Result]) -> str:
    """What each checkpoint takes, and how fast it is, beside its base model; free of control characters."""
    return "\n".join([*_aligned(memory_rows(results)), "", *_aligned(speed_rows(results))])


def memory_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Size, load time and memory, each with how many times smaller it is than the base's; the heads first."""
    bases = bases_of(results)
    rows: list[tuple[str, ...]] = [
        ("checkpoint", "by bits", "on disk", "×", "load", "peak memory", "×", "of it the model", "×"),
    ]
    for result in results:
        base = bases.get(result.subject.name)
        smaller = _NOTHING if base is None else reduction(result, base)
        rows.append(
            (
                plain(result.subject.name),
                _times(smaller.by_bits),
                size(result.subject.size_bytes),
                _times(smaller.size),
                median(result.load, seconds),
                median(result.peak_memory, size),
                _times(smaller.peak_memory),
                median(result.model_memory, size),
                _times(smaller.model_memory),
            )
        )
    return rows


def speed_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Every case of every checkpoint, the heads first: medians, and the middle half of the runs."""
    bases = bases_of(results)
    rows: list[tuple[str, ...]] = [("checkpoint", "prompt", "batch", "first token", "tokens/s", "×")]
    for key in dict.fromkeys(key for result in results for key in cases_of(result)):
        for result in results:
            case = cases_of(result).get(key)
            if case is None:
                continue
            base = bases.get(result.subject.name)
            rows.append(
                (
                    plain(result.subject.name),
                    str(case.prompt_length),
                    str(case.batch_size),
                    between(case.first_token, seconds),
                    between(case.speed, rate),
                    _times(speed_up(case, None if base is None else cases_of(base).get(key))),
                )
            )
    return rows


def _times(value: float | None) -> str:
    found = times(value)
    return "" if found == MISSING else found


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Names to the left, figures to the right, a line below the heads."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()
        if number == 0:
            yield "  ".join("─" * width for width in widths)
