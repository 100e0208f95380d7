"""What came of every type, as the repository has it: docs/reference/models.md shows it, a sweep compares it.

    {"llama": {"gptq4": "ok: gptq", "awq4": "ok: awq", …}, "reformer": {"gptq4": "refused: …", …}, …}

A line per type. A cell is the format of a checkpoint that is good, with or without `allow_partial`, or why
there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from quantize_lib.architecture.outcomes import RECORD
from quantize_lib.files import read_json
from tests.families.one_type import Outcome


def cell_of(outcome: Outcome) -> str:
    """A cell's word in the record."""
    if outcome.result in ("ok", "partial"):
        return f"{outcome.result}: {outcome.figures['format']}"
    # What is wrong is said with figures and places, which differ from machine to machine.
    return f"refused: {outcome.reason}" if outcome.result == "refused" else "wrong"


def write_record(outcomes: Iterable[Outcome]) -> None:
    """Put outcomes into the record; what it says of other types and methods stays."""
    record: dict[str, dict[str, str]] = read_json(RECORD) if RECORD.exists() else {}
    for outcome in outcomes:
        record.setdefault(outcome.type, {})[outcome.cell] = cell_of(outcome)
    lines = (f"{json.dumps(name)}: {json.dumps(record[name])}" for name in sorted(record))
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def differences(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """What came otherwise than the record says."""
    record: Mapping[str, Mapping[str, str]] = read_json(RECORD)
    for outcome in outcomes:
        found, expected = cell_of(outcome), record.get(outcome.type, {}).get(outcome.cell)
        if found != expected:
            yield f"{outcome.type} {outcome.cell}: {found}; {RECORD.name} has: {expected}"
