"""What a benchmark measured, as pictures: size and memory, and speed over the length of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from quantize_lib.benchmark.comparison import cases_of
from quantize_lib.benchmark.records import Case, Result, Spread
from quantize_lib.benchmark.words import MISSING, median, rate, seconds, size
from quantize_lib.pictures.bars import Panel, bars
from quantize_lib.pictures.lines import Line, Middle, lines
from quantize_lib.pictures.picture import Picture
from quantize_lib.text import plain

_LABEL_CHARACTERS = 28


def pictures(name: str, results: Sequence[Result]) -> list[tuple[Picture, str]]:
    """The pictures of a base model and what is compared with it, each with its caption.

    Args:
        name: of all of them together.
        results: at least one; those of which nothing was measured are left out.
    """
    results = [result for result in results if result.load is not None]
    if not results:
        return []
    found = [
        (
            _weight(f"{name}-weight", results),
            "Weights on disk, and what the model adds to the peak memory.",
        ),
        (
            _cost(f"{name}-cost", results),
            "Peak memory of the process, libraries included, and load time.",
        ),
    ]
    for batch in dict.fromkeys(case.batch_size for result in results for case in result.cases):
        found += _grown(name, results, batch)
    return found


def _weight(name: str, results: Sequence[Result]) -> Picture:
    sizes = [float(result.subject.size_bytes) for result in results]
    memory = [_median(result.model_memory) for result in results]
    panels = [
        Panel(title="weights on disk", values=sizes, words=size),
        Panel(title="memory of the model", values=memory, words=size),
    ]
    return _bars(name, results, panels)


def _cost(name: str, results: Sequence[Result]) -> Picture:
    panels = [
        Panel(title="peak memory", values=[_median(result.peak_memory) for result in results], words=size),
        Panel(title="load time", values=[_median(result.load) for result in results], words=seconds),
    ]
    return _bars(name, results, panels)


def _bars(name: str, results: Sequence[Result], panels: Sequence[Panel]) -> Picture:
    labels = _labels(results)
    said = (
        f"{panel.title}: "
        + ", ".join(
            f"{label} {MISSING if value is None else panel.words(value)}"
            for label, value in zip(labels, panel.values, strict=True)
        )
        for panel in panels
    )
    return bars(name, labels, panels, alt="; ".join(said))


def _grown(name: str, results: Sequence[Result], batch: int) -> Iterator[tuple[Picture, str]]:
    """Both figures of one batch size over the length of prompts."""
    figures: list[tuple[str, str, Callable[[Case], Spread | None], Callable[[float], str]]] = [
        ("tokens a second", "speed", lambda case: case.speed, rate),
        ("seconds to the first token", "first", lambda case: case.first_token, seconds),
    ]
    lengths = sorted({case.prompt_length for result in results for case in result.cases})
    prompts = "1 prompt" if batch == 1 else f"{batch} prompts at once"
    for what, word, spread_of, unit in figures:
        series, said = [], []
        for label, result in zip(_labels(results), results, strict=True):
            cases = cases_of(result)
            spreads = [
                None if case is None else spread_of(case)
                for case in (cases.get((length, batch)) for length in lengths)
            ]
            series.append(Line(label=label, values=[_middle(spread) for spread in spreads]))
            said.append(f"{label}: {', '.join(median(spread, unit) for spread in spreads)}")
        picture = lines(
            f"{name}-{word}-{batch}",
            [str(length) for length in lengths],
            series,
            title=prompts,
            x="length of the prompt, tokens",
            y=what,
            alt=f"{what}, {prompts}, of {', '.join(map(str, lengths))} tokens. {'; '.join(said)}",
        )
        yield picture, f"{what.capitalize()}, {prompts}: medians, and the middle half of the runs."


def _labels(results: Sequence[Result]) -> list[str]:
    """How each is stored, and its name where that is not enough."""
    kinds = Counter(result.subject.kind for result in results)
    names = (
        plain(subject.kind if kinds[subject.kind] == 1 else subject.name)
        for subject in (result.subject for result in results)
    )
    return [name if len(name) <= _LABEL_CHARACTERS else f"…{name[1 - _LABEL_CHARACTERS :]}" for name in names]


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _middle(spread: Spread | None) -> Middle | None:
    if spread is None:
        return None
    first, third = spread.quartiles
    return Middle(low=first, middle=spread.median, high=third)
