"""How limits were judged, as `report.json` has it, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quantize_lib.metrics import Outcome, Verdict


def verdicts_json(verdicts: Iterable[Verdict]) -> list[dict[str, str]]:
    """The list `verdicts` of a cell."""
    return [{"limit": one.key, "outcome": one.outcome.value, "text": one.text} for one in verdicts]


def verdicts_from(data: Iterable[Mapping[str, str]]) -> tuple[Verdict, ...]:
    """The verdicts of a cell of a report that follows the schema."""
    return tuple(Verdict(key=one["limit"], outcome=Outcome(one["outcome"]), text=one["text"]) for one in data)
