"""What a checkpoint takes beside its base model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantize_lib.benchmark.records import Case, Result

_WIDTH = re.compile(r"float(\d+)|bfloat(\d+)")


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """How many times smaller than its base model a checkpoint is; None where one of the two is not known.

    Attributes:
        by_bits: bits of the base's dtype divided by the checkpoint's: what the bits alone would give.
        size: weights on disk.
        peak_memory: of the whole process, libraries included.
        model_memory: of the peak, beyond what the process had before it loaded.
    """

    by_bits: float | None = None
    size: float | None = None
    peak_memory: float | None = None
    model_memory: float | None = None


def bases_of(results: Sequence[Result]) -> dict[str, Result]:
    """By a checkpoint's name, what it is compared with."""
    by_name = {result.subject.name: result for result in results}
    return {
        result.subject.name: by_name[result.subject.base]
        for result in results
        if result.subject.base is not None
    }


def reduction(result: Result, base: Result) -> Reduction:
    """How many times smaller than its base a checkpoint is."""
    width = _WIDTH.fullmatch(base.said("dtype") or "")
    bits = None if width is None else int(width[1] or width[2])
    return Reduction(
        by_bits=_times(bits, result.subject.bits),
        size=_times(base.subject.size_bytes, result.subject.size_bytes),
        peak_memory=_times(_median(base, "peak_memory"), _median(result, "peak_memory")),
        model_memory=_times(_median(base, "model_memory"), _median(result, "model_memory")),
    )


def cases_of(result: Result) -> Mapping[tuple[int, int], Case]:
    """By prompt length and batch size."""
    return {(case.prompt_length, case.batch_size): case for case in result.cases}


def speed_up(case: Case, base: Case | None) -> float | None:
    """How many times the base's tokens a second a checkpoint generates."""
    if base is None or case.speed is None or base.speed is None:
        return None
    return case.speed.median / base.speed.median


def _median(result: Result, attribute: str) -> float | None:
    spread = getattr(result, attribute)
    return None if spread is None else spread.median


def _times(before: float | None, after: float | None) -> float | None:
    return before / after if before and after and before > 0 < after else None
