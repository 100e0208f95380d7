"""What a tiny model of every type came to, as `outcomes.json` has it (`python -m tests.families --record`).

`model-quantizer families` and docs/reference/models.md show it; a sweep over all types compares it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.methods import METHODS, Method

RECORD = Path(__file__).with_name("outcomes.json")
PARTIAL = "*"
"""Behind a format that takes the type with `allow_partial` alone."""
NONE = "–"
_MADE = ("ok", "partial")


@dataclass(frozen=True, kw_only=True)
class TypeOutcome:
    """What came of a type.

    Attributes:
        formats: by the method's title, the formats of its checkpoints; with the bits where not all are made.
            Without the methods that the sweep has not been made with.
        why: what is refused, and for what reason.
    """

    name: str
    formats: Mapping[str, str]
    why: str


def outcomes() -> Iterator[TypeOutcome]:
    """Every type's, in the order of their names."""
    record: Mapping[str, Mapping[str, str]] = json.loads(RECORD.read_text(encoding="utf-8"))
    cells_of_all = {cell for cells in record.values() for cell in cells}
    tried = [method for method in METHODS.values() if not cells_of_all.isdisjoint(_cells(method))]
    for name, cells in record.items():
        split = {cell: word.partition(": ")[::2] for cell, word in cells.items()}
        formats = {method.title: _formats(split, method) for method in tried}
        yield TypeOutcome(name=name, formats=formats, why=_why(split))


def _why(split: Mapping[str, tuple[str, str]]) -> str:
    reasons: dict[str, list[str]] = {}
    for cell, (result, reason) in split.items():
        if result not in _MADE:
            reasons.setdefault(reason or "not good yet", []).append(cell)
    return "; ".join(
        reason if len(found) == len(split) else f"{_words(found)}: {reason}"
        for reason, found in reasons.items()
    )


def _cells(method: Method) -> list[str]:
    return [f"{method.slug}{bits}" for bits in method.bits]


def _formats(split: Mapping[str, tuple[str, str]], method: Method) -> str:
    of_method = {cell: found for cell, found in split.items() if cell in _cells(method)}
    made = {cell: found for cell, found in of_method.items() if found[0] in _MADE}
    if not made:
        return NONE
    formats = {name + (PARTIAL if result == "partial" else "") for result, name in made.values()}
    missing = len(made) < len(of_method)
    bits = f" ({', '.join(cell.removeprefix(method.slug) for cell in made)} bits)" if missing else ""
    return ", ".join(sorted(formats)) + bits


def _words(cells: list[str]) -> str:
    return ", ".join(f"{cell[:-1]} {cell[-1]}" for cell in cells)
