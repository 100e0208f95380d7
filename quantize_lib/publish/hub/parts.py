"""The card of a repository on the Hub that holds several checkpoints, when one of them is to be another."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from quantize_lib.card.keep import kept_sections, with_sections
from quantize_lib.card.shared import Part, shared_card
from quantize_lib.card.state import CardState
from quantize_lib.parts import place_in
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.publish.hub.repository_state import Head
from quantize_lib.report.records import CARD_FILE, RECORD_FILE

SMALL = 16 << 20
"""Bytes of the largest file that is read back: config.json, a card or a record have a few thousand."""


def record_at(remote: HubRepository, commit: str, part: str) -> dict[str, Any] | None:
    """The report of a part at a commit; None where it is none of ours.

    Raises:
        EntryNotFoundError: where there is none.
    """
    try:
        record = json.loads(remote.read(place_in(part, RECORD_FILE), commit, limit=SMALL))
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("files"), dict) else None


def card_with(remote: HubRepository, head: Head, names: Collection[str], own: Part, card: str) -> str:
    """The card at the top with one part as it is to be, and the others as they are.

    Args:
        head: the state that is changed.
        names: the files that it holds.
        own: the part that is published.
        card: its own card.

    Raises:
        PublishError: where a card cannot be read.
    """
    old = (
        remote.read(CARD_FILE, head.commit, limit=SMALL).decode("utf-8", errors="replace")
        if CARD_FILE in names
        else ""
    )
    return with_sections(
        shared_card(remote.name, [own, *_others(remote, head, own.name)], card), kept_sections(old)
    )


def rejected_of(head: Head, part: str) -> tuple[str, ...]:
    """The fingerprints of a part that were taken back, oldest first."""
    return _states(head).get(part, CardState()).rejected


def _others(remote: HubRepository, head: Head, own: str) -> Sequence[Part]:
    found = ((name, record_at(remote, head.commit, name)) for name in head.parts if name != own)
    return [
        Part(name=name, record=record, rejected=rejected_of(head, name))
        for name, record in found
        if record is not None
    ]


def _states(head: Head) -> dict[str, CardState]:
    return {} if head.card is None else dict(head.card.parts)
