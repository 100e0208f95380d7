"""What a new revision of a repository changed, as one message for those who follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.card.escape import code
from quantize_lib.metrics import METRICS, NONE
from quantize_lib.report.records import CARD_FILE, PICTURE_FILE, CellRecord, Measurements
from quantize_lib.text import format_bytes

_OF_THE_CARD = (CARD_FILE, PICTURE_FILE)
_TOOL = "model-quantizer"
_LONGEST_VALUE = 200
_NOT_SAID = "not said"


def is_another(before: CellRecord, now: CellRecord) -> bool:
    """Whether a checkpoint is another one, and not the same with another card."""
    files = [{k: v for k, v in one.files.items() if k not in _OF_THE_CARD} for one in (before, now)]
    return files[0] != files[1]


def revision_message(before: CellRecord, now: CellRecord) -> str:
    """Markdown: what is another than before, with the figures of both.

    Args:
        before: the report of what was published; somebody else may have written it.
        now: that of what is.
    """
    rows = list(_figures(before.measurements, now.measurements))
    table = ["| | Before | Now |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    notes = list(_notes(before.measurements, now.measurements))
    changes = [f"- {name}: {was} → {is_now}" for name, was, is_now in _changes(before, now)]
    parts = [
        "This revision replaces the checkpoint that was here.",
        *(["\n".join(table)] if rows else []),
        *([" ".join(notes)] if notes else []),
        "\n".join(["What it was made from and how:", "", *changes])
        if changes
        else "It was made from the same base model with the same settings.",
        "The figures are those of the two reports (`quantization_report.json`), measured when each was made.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(before: Measurements | None, now: Measurements | None) -> Iterator[tuple[str, ...]]:
    sizes = [NONE if one is None else format_bytes(one.size_after) for one in (before, now)]
    if before is not None or now is not None:
        yield "Weights on disk", *sizes
    for metric in METRICS.values():
        found = [
            metric.row(one.figure(metric)) if one is not None and one.proven else None
            for one in (before, now)
        ]
        named = next((row for row in found if row is not None), None)
        if named is not None:
            yield named.name, *(NONE if row is None else row.after for row in found)


def _notes(before: Measurements | None, now: Measurements | None) -> Iterator[str]:
    texts = [None if one is None else one.evaluation for one in (before, now)]
    old, new = texts
    if old is None or new is None:
        return
    if old.tokens_digest != new.tokens_digest:
        yield "The two were not measured on the same text, so their figures cannot be compared:"
        yield f"{code(old.source)} ({old.tokens} tokens) and {code(new.source)} ({new.tokens} tokens)."
    else:
        yield f"Both were measured on {code(new.source)} ({new.tokens} tokens)."


def _changes(before: CellRecord, now: CellRecord) -> Iterator[tuple[str, ...]]:
    """What is another, in words that are Markdown: its name, what it was, what it is."""
    if (before.model, before.revision) != (now.model, now.revision):
        yield "base model", _base(before), _base(now)
    if before.format != now.format:
        yield "format", code(before.format), code(now.format)
    settings = [_settings(one) for one in (before, now)]
    for name in dict.fromkeys([*settings[0], *settings[1]]):
        if settings[0].get(name) != settings[1].get(name):
            yield code(name), *(_value(one.get(name)) for one in settings)
    texts = [one.calibration for one in (before, now)]
    digests = [None if one is None else one.tokens_digest for one in texts]
    if digests[0] != digests[1]:
        yield (
            "calibration text",
            *("none" if one is None else f"{code(one.source)} ({one.tokens} tokens)" for one in texts),
        )
    versions = [one.versions.get(_TOOL) for one in (before, now)]
    if versions[0] != versions[1]:
        yield _TOOL, *(_NOT_SAID if one is None else code(one) for one in versions)


def _base(record: CellRecord) -> str:
    return f"{code(record.model)} at {code(record.revision or _NOT_SAID)}"


def _settings(record: CellRecord) -> Mapping[str, Any]:
    return {"method": record.method, "bits": record.bits, **record.settings}


def _value(value: object) -> str:
    text = str(value)
    return code(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…")
