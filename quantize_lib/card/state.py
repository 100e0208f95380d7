"""What a card says of the repository that it stands in, for this tool's next run.

model_quantizer: {fingerprint: <hex>, version: <of this tool>, rejected: [<hex>, …],
                  base: <revision>, settings: <digest>, calibration: <digest>, choice: <digest>}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quantize_lib.card.front import metadata_of, with_metadata
from quantize_lib.plan.fingerprint import known_choice, known_inputs

STATE_KEY = "model_quantizer"
"""A key of our own, which the Hub passes through: one request for a repository's card tells what it holds."""
MAX_REJECTED = 100
"""The oldest are forgotten."""

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
    """

    fingerprint: str | None = None
    version: str | None = None
    rejected: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    choice: str | None = None


def card_state(metadata: Mapping[str, object]) -> CardState | None:
    """What the front matter says; None where it has not our key."""
    written = metadata.get(STATE_KEY)
    if not isinstance(written, Mapping):
        return None
    rejected = written.get("rejected")
    return CardState(
        fingerprint=_text(written.get("fingerprint"), _FINGERPRINT),
        version=_text(written.get("version"), _VERSION),
        rejected=tuple(
            item for item in (rejected if isinstance(rejected, list) else ()) if _text(item, _FINGERPRINT)
        )[-MAX_REJECTED:],
        inputs=known_inputs(written),
        choice=known_choice(written.get("choice")),
    )


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
