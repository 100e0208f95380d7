"""Tells who follows a repository on the Hub what a new revision changed: one discussion, or one comment."""

from __future__ import annotations

import json

from quantize_lib.card.revision import is_another, revision_message
from quantize_lib.errors import PublishError
from quantize_lib.hub.explanations import publishing_errors
from quantize_lib.parts import place_in
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.report import checkpoint_record_from_json
from quantize_lib.report.records import RECORD_FILE, CellRecord

_RECORD_BYTES = 2**26
_SHOWN_DIGITS = 12


def announce(remote: HubRepository, done: Published, part: str) -> tuple[str, ...]:
    """Say what a publication changed, if it replaced another checkpoint.

    Args:
        done: the publication; without `replaced` there was none before.
        part: which part of the repository it is.

    Returns:
        Why that could not be said, as a note for log and report; nothing where it was, or there is nothing
        to say. What is published stays so.
    """
    if done.replaced is None:
        return ()
    try:
        with publishing_errors(remote.name):
            before, now = (_record(remote, commit, part) for commit in (done.replaced, done.commit))
            if before is None:
                return ("the revision before has no report that this version reads: nobody was told",)
            if now is None or not is_another(before, now):
                return ()
            text = revision_message(before, now)
            if done.proposal is not None:
                remote.comment(int(done.proposal.rpartition("/")[2]), text)
            else:
                remote.discuss(f"What changed in {done.commit[:_SHOWN_DIGITS]}", text)
    except PublishError as error:
        return (f"nobody was told what this revision changed: {error.message}",)
    return ()


def _record(remote: HubRepository, commit: str, part: str) -> CellRecord | None:
    """The report at a commit; None where there is none that this version reads."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        data = json.loads(remote.read(place_in(part, RECORD_FILE), commit, limit=_RECORD_BYTES))
        return checkpoint_record_from_json(data)
    except (EntryNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
