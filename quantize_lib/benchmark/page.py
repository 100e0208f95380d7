"""`benchmark.html`: what `benchmark.json` says, for people, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.comparison import Reduction, bases_of, cases_of, reduction, speed_up
from quantize_lib.benchmark.document import DOCUMENT_FILE, Benchmark
from quantize_lib.benchmark.drawings import pictures
from quantize_lib.benchmark.machine import machine
from quantize_lib.benchmark.records import Result
from quantize_lib.benchmark.words import MISSING, between, busy_words, rate, seconds, size, smaller, times
from quantize_lib.pages import render_page
from quantize_lib.text import format_duration, plain
from quantize_lib.versions import versions

PAGE_FILE = "benchmark.html"
_TEMPLATE = Path(__file__).with_name("page.html.j2")
_MEMORY = ("by its bits", "weights on disk", "load time", "peak memory", "of it the model")
_SPEED = ("first token", "tokens a second", "beside the base")
_PROMPT_CHARACTERS = 400
_NOTHING = Reduction()


def benchmark_page(benchmark: Benchmark) -> str:
    """The page: HTML that needs no network and no other file."""
    results = benchmark.results
    bases = bases_of(results)
    groups = _groups(results)
    found = machine()
    return render_page(
        _TEMPLATE,
        {
            "started": benchmark.started,
            "took": format_duration((benchmark.finished - benchmark.started).total_seconds()),
            "place": ", ".join(_devices(results)) or found["processor"],
            "command": benchmark.command,
            "document": DOCUMENT_FILE,
            "busy": busy_words(benchmark.load_average, found["cores"]),
            "failures": [
                {"name": one.subject.name, "status": one.status.replace("_", " "), "said": _said(one)}
                for one in results
                if one.status != "measured"
            ],
            "groups": [
                {
                    "title": group[0].subject.name,
                    "compared": len(group) > 1,
                    "pictures": pictures(f"group-{number}", group),
                    "memory": [_memory(result, bases) for result in group],
                    "speed": list(_speed(group, bases)),
                }
                for number, group in enumerate(groups)
            ],
            "memory_heads": _MEMORY,
            "speed_heads": _SPEED,
            "protocol": benchmark.protocol,
            "prompts": benchmark.prompts,
            "shown_prompts": [_cut(text) for text in benchmark.prompts.texts],
            "loaders": [
                f"{one.subject.name}: {_loaded_by(one)}." for one in results if one.said("loader") is not None
            ],
            "has_servers": any(one.subject.through is not None for one in results),
            "machine": [
                ("processor", found["processor"]),
                ("cores", found["cores"]),
                ("memory", size(found["memory_bytes"])),
                *versions().items(),
            ],
        },
    )


def _groups(results: Sequence[Result]) -> list[list[Result]]:
    """Each base model with what is compared with it, in their order; the rest by themselves."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.subject.base or result.subject.name, []).append(result)
    return list(groups.values())


def _devices(results: Sequence[Result]) -> Iterator[str]:
    names = (result.said("device_name") for result in results)
    yield from dict.fromkeys(name for name in names if name is not None)


def _said(result: Result) -> str:
    return "It was not its turn before the end." if result.error is None else result.error


def _loaded_by(result: Result) -> str:
    """The library with the dtype in memory, or the server, which does not tell that."""
    words = f"loaded by {result.said('loader')}"
    return words if (dtype := result.said("dtype")) is None else f"{words}, {dtype}"


def _memory(result: Result, bases: Mapping[str, Result]) -> dict[str, Any]:
    base = bases.get(result.subject.name)
    less = _NOTHING if base is None else reduction(result, base)
    words = (
        ("", smaller(less.by_bits)),
        (size(result.subject.size_bytes), smaller(less.size)),
        (between(result.load, seconds), ""),
        (between(result.peak_memory, size), smaller(less.peak_memory)),
        (between(result.model_memory, size), smaller(less.model_memory)),
    )
    return {
        "name": result.subject.name,
        "kind": result.subject.kind,
        "is_base": result in bases.values(),
        "figures": [(head, *pair) for head, pair in zip(_MEMORY, words, strict=True)],
    }


def _speed(group: Sequence[Result], bases: Mapping[str, Result]) -> Iterator[dict[str, Any]]:
    """The rows of each case."""
    for key in dict.fromkeys(key for result in group for key in cases_of(result)):
        rows = []
        for result in group:
            case = cases_of(result).get(key)
            if case is None:
                continue
            base = bases.get(result.subject.name)
            faster = speed_up(case, None if base is None else cases_of(base).get(key))
            words = (
                MISSING if case.first_token is None else between(case.first_token, seconds),
                MISSING if case.speed is None else between(case.speed, rate),
                "" if faster is None else times(faster),
            )
            rows.append({"name": result.subject.name, "figures": list(zip(_SPEED, words, strict=True))})
        length, batch = key
        prompts = "1 prompt" if batch == 1 else f"{batch} prompts at once"
        yield {"title": f"{prompts}, {length} tokens", "rows": rows}


def _cut(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _PROMPT_CHARACTERS else f"{text[:_PROMPT_CHARACTERS]} …"
