"""What a card says of the repository that it stands in, for this tool's next run.

model_quantizer: {fingerprint: <hex>, version: <of this tool>, rejected: [<hex>, …],
                  base: <revision>, settings: <digest>, calibration: <digest>, choice: <digest>}

Where a repository holds several checkpoints, its card says the same of each by the name of its part, and the
files of its weights:

model_quantizer: {parts: {Q8_0: {fingerprint: <hex>, …, weights: [<name>, …]}, …}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from quantize_lib.card.front import metadata_of, with_metadata
from quantize_lib.errors import PublishError
from quantize_lib.plan.fingerprint import known_choice, known_inputs

STATE_KEY = "model_quantizer"
"""A key of our own, which the Hub passes through: one request for a repository's card tells what it holds."""
MAX_REJECTED = 100
"""The oldest are forgotten."""

PARTS_KEY = "parts"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{1,128}")
_VERSION = re.compile(r"[0-9A-Za-z.+!-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class CardState:
    """The card's own words, checked: anyone with write access can have changed them.

    Attributes:
        fingerprint: of the checkpoint.
        version: of this tool, which made it.
        rejected: fingerprints that were taken back, oldest first.
        inputs: what the fingerprint is made of (`plan.fingerprint.inputs`).
        choice: of the one that was chosen among its model's cells (`plan.fingerprint.choice_digest`).
        weights: names of their files, of a part.
        parts: of a repository that holds several checkpoints, what is said of each.
    """

    fingerprint: str | None = None
    version: str | None = None
    rejected: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    choice: str | None = None
    weights: tuple[str, ...] = ()
    parts: Mapping[str, CardState] = field(default_factory=dict)


def card_state(metadata: Mapping[str, object]) -> CardState | None:
    """What the front matter says; None where it has not our key."""
    written = metadata.get(STATE_KEY)
    if not isinstance(written, Mapping):
        return None
    parts = written.get(PARTS_KEY)
    return replace(
        _one_state(written),
        parts={
            name: _one_state(part)
            for name, part in (parts.items() if isinstance(parts, Mapping) else ())
            if isinstance(part, Mapping) and _text(name, _PART)
        },
    )


def _one_state(written: Mapping[str, object]) -> CardState:
    rejected, weights = written.get("rejected"), written.get("weights")
    return CardState(
        fingerprint=_text(written.get("fingerprint"), _FINGERPRINT),
        version=_text(written.get("version"), _VERSION),
        rejected=tuple(
            item for item in (rejected if isinstance(rejected, list) else ()) if _text(item, _FINGERPRINT)
        )[-MAX_REJECTED:],
        inputs=known_inputs(written),
        choice=known_choice(written.get("choice")),
        weights=tuple(
            name for name in (weights if isinstance(weights, list) else ()) if isinstance(name, str)
        ),
    )


def parts_told(card: str) -> tuple[str, ...]:
    """The parts that a card names; none where its repository holds one checkpoint, or it says nothing."""
    try:
        state = card_state(metadata_of(card))
    except PublishError:
        return ()
    return () if state is None else tuple(state.parts)


def with_rejected(card: str, rejected: Iterable[str]) -> str:
    """A card whose state names these fingerprints as taken back; the card's own is never among them."""
    written = metadata_of(card).get(STATE_KEY)
    state = dict(written) if isinstance(written, Mapping) else {}
    kept = [item for item in dict.fromkeys(rejected) if item != state.get("fingerprint")][-MAX_REJECTED:]
    if kept == state.get("rejected", []):
        return card
    state.pop("rejected", None)
    return with_metadata(card, {STATE_KEY: {**state, **({"rejected": kept} if kept else {})}})


def _text(value: object, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
