"""The card of a finished checkpoint that is to say something else by now, or that a person corrected.

Nothing is quantized for it: the card and its hash in the checkpoint's record are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.card.front import metadata_of, with_metadata
from quantize_lib.card.metadata import metadata, state_of
from quantize_lib.card.render import render_card
from quantize_lib.card.state import STATE_KEY
from quantize_lib.command.spec import COMMAND
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file, write_json, write_text
from quantize_lib.host.terms_notice import NOTICE_FILE, add_notice
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.report import checkpoint_record
from quantize_lib.report.records import CARD_FILE, PICTURE_FILE, RECORD_FILE, CellRecord
from quantize_lib.source import with_given
from quantize_lib.source.base_card import NOTE, BaseCard
from quantize_lib.source.card_rules import KEYS, LICENSE_KEYS
from quantize_lib.source.facts import ModelFacts, ModelSource

_SAID = (*KEYS, "tags")
"""What may change on a card without another checkpoint."""
_FOUND = "pipeline_tag"
"""Where the base card does not say it, it was found in the base model's config."""
_ALWAYS = ("files", "notes", "terms", "limits")
_AT_TIMES = ("card_by_hand", "choice", "verdicts", COMMAND)
"""Keys that a record has only where they say something."""


def files_as_they_lie(checkpoint: Path, files: Mapping[str, str]) -> dict[str, str]:
    """The recorded files, with the card as it lies there; without it where there is none."""
    found = dict(files)
    found.pop(CARD_FILE, None)
    card = checkpoint / CARD_FILE
    if card.is_file() and not card.is_symlink():
        found[CARD_FILE] = sha256_file(card)
    return found


def adopted(checkpoint: Path, record: CellRecord) -> CellRecord:
    """The record of a checkpoint whose card a person corrected, which is brought up to date.

    Raises:
        PublishError: where the card cannot be read.
    """
    text = _text(checkpoint)
    if text is None or _is_recorded(checkpoint, record):
        # What is missing is told where all files are compared.
        return record
    return _kept(checkpoint, record, text, {})


def recarded(
    checkpoint: Path,
    record: CellRecord,
    *,
    base: BaseCard,
    cell: Cell,
    job: Job,
    command: str,
    given: Mapping[str, Any],
    siblings: Sequence[CellRecord] = (),
) -> CellRecord:
    """The record of a checkpoint whose card says what base card and manifest say now.

    A card that nobody touched is written anew where it says something else. One that a person wrote stays,
    but for what the manifest names.

    Args:
        base: the base model's card.
        command: the command line that makes the same again, for the card.
        given: the manifest's `publish.card`.
        siblings: the other cells of its model.

    Raises:
        PublishError: where the card cannot be read.
    """
    source = _source(checkpoint, base)
    record = replace(record, terms=None if record.terms is None else with_given(record.terms, given))
    wanted = metadata(record, source, job.model, given)
    text = _text(checkpoint)
    noted = replace(record, notes=_notes(record, base))
    # Of the same figures, if it is there.
    picture = (checkpoint / PICTURE_FILE).is_file()
    fresh = render_card(
        noted,
        source=source,
        cell=cell,
        job=job,
        command=command,
        given=given,
        siblings=siblings,
        picture=picture,
    )
    touched = record.card_by_hand or not _is_recorded(checkpoint, record)
    if text is not None and text != fresh and touched:
        keys = {*given, *(LICENSE_KEYS if "license" in given else ())}
        return _kept(checkpoint, record, text, {key: wanted.get(key) for key in sorted(keys)})
    recorded, told = _json(checkpoint / RECORD_FILE), checkpoint_record(record)
    same = all(recorded.get(key) == told.get(key) for key in ("limits", COMMAND))
    if text is not None and not touched and same:
        said = metadata_of(text)
        if all(said.get(key) == wanted.get(key) for key in _SAID if key != _FOUND or key in base.fields):
            return record
    if record.terms is not None and add_notice(checkpoint, record.terms):
        notice = sha256_file(checkpoint / NOTICE_FILE)
        noted = replace(noted, files={**noted.files, NOTICE_FILE: notice})
    return _written(checkpoint, replace(noted, card_by_hand=False), fresh)


def with_choice(checkpoint: Path, record: CellRecord) -> CellRecord:
    """The record of a checkpoint whose card and own record say by what it was chosen.

    Raises:
        PublishError: where the card cannot be read or written.
    """
    text = _text(checkpoint)
    if text is None:
        # What is missing is told where all files are compared.
        return record
    state = state_of(record)
    card = text if metadata_of(text).get(STATE_KEY) == state else with_metadata(text, {STATE_KEY: state})
    return _written(checkpoint, record, card)


def _notes(record: CellRecord, base: BaseCard) -> tuple[str, ...]:
    """The record's notes with those on the base model's card as it is now."""
    others = tuple(note for note in record.notes if not note.startswith(NOTE))
    before = tuple(note for note in record.notes if note not in others)
    return record.notes if before == base.notes else (*base.notes, *others)


def _kept(checkpoint: Path, record: CellRecord, text: str, values: Mapping[str, Any]) -> CellRecord:
    """A person's card, with these values and the key by which this tool knows its repositories."""
    path = checkpoint / CARD_FILE
    wanted = {**values, STATE_KEY: state_of(record)}
    try:
        said = metadata_of(text)
        others = {key: value for key, value in wanted.items() if said.get(key) != value}
        card = with_metadata(text, others) if others else text
        metadata_of(card)
    except PublishError as error:
        raise PublishError(
            f"{path}: {error.message}",
            hint="Correct it there, or remove the file: the next run writes it anew.",
        ) from None
    return _written(checkpoint, replace(record, card_by_hand=True), card)


def _written(checkpoint: Path, record: CellRecord, card: str) -> CellRecord:
    """Write a card where it is another, and its hash into the checkpoint's record.

    Raises:
        PublishError: where the folder cannot be written.
    """
    path = checkpoint / CARD_FILE
    try:
        if _text(checkpoint) != card:
            write_text(path, card)
        files = {**record.files, CARD_FILE: sha256_file(path)}
        data = _json(checkpoint / RECORD_FILE)
        own = {name: digest for name, digest in files.items() if name != RECORD_FILE}
        told = checkpoint_record(replace(record, files=own))
        kept = {key: value for key, value in data.items() if key not in _AT_TIMES}
        new = {
            **kept,
            **{key: told[key] for key in ("files", "notes", "terms", "limits", *_AT_TIMES) if key in told},
        }
        if data and new != data:
            write_json(checkpoint / RECORD_FILE, new)
        if data and RECORD_FILE in files:
            files[RECORD_FILE] = sha256_file(checkpoint / RECORD_FILE)
    except OSError as error:
        raise PublishError(
            f"{path} cannot be brought up to date: {error.strerror or error}",
            hint="Free some space, or make the folder writable.",
        ) from error
    return replace(record, files=files)


def _text(checkpoint: Path) -> str | None:
    """The card as it lies there; None where there is none."""
    path = checkpoint / CARD_FILE
    if path.is_symlink() or not path.is_file():
        return None
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except ValueError:
        raise PublishError(f"{path} is not UTF-8", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror or error}") from error


def _is_recorded(checkpoint: Path, record: CellRecord) -> bool:
    return files_as_they_lie(checkpoint, record.files) == record.files


def _source(checkpoint: Path, base: BaseCard) -> ModelSource:
    """What a card is made of, without the base model: its architecture stands in the checkpoint's config."""
    facts = ModelFacts(
        config=_json(checkpoint / "config.json"),
        tensors={},
        layers=(),
        revision="",
        weight_bytes=0,
        download_bytes=0,
    )
    return ModelSource(folder=checkpoint, facts=facts, card=base.fields)


def _json(path: Path) -> dict[str, Any]:
    """An object; an empty one for what is damaged, which is told where all files are compared."""
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
