"""Hand-written sections of a published card, which the next card takes along.

Everything between `<!-- model-quantizer: keep NAME -->` and `<!-- model-quantizer: end NAME -->`, both alone
on their lines, is a person's; the rest of a card is written anew at every publication.
"""

from __future__ import annotations

import re

from quantize_lib.card.front import FRONT_MATTER
from quantize_lib.errors import PublishError

MAX_KEPT = 64 * 1024
"""Characters of all sections of a card together: far more than anybody writes, far less than would hurt."""

_MARKER = re.compile(r"^[ \t]*<!--[ \t]*model-quantizer:[ \t]*(keep|end)[ \t]+(\S+)[ \t]*-->[ \t]*\r?$", re.M)


def kept_sections(card: str) -> tuple[str, ...]:
    """The sections of a card, markers included, in their order.

    Raises:
        PublishError: where a marker has no counterpart or the sections are too long: what a person wrote is
            not dropped silently.
    """
    body = FRONT_MATTER.sub("", card, count=1)
    sections: list[str] = []
    start: re.Match[str] | None = None
    for marker in _MARKER.finditer(body):
        word, name = marker[1], marker[2]
        if (word == "end") != (start is not None) or (start is not None and start[2] != name):
            raise _unpaired(word, name)
        if start is None:
            start = marker
        else:
            sections.append(body[start.start() : marker.end()].rstrip("\r"))
            start = None
    if start is not None:
        raise _unpaired("keep", start[2])
    if sum(map(len, sections)) > MAX_KEPT:
        raise PublishError(
            f"the card's sections to keep are longer than {MAX_KEPT} characters together",
            hint="Move a part of them into a file of its own in the repository; such files are kept.",
        )
    return tuple(sections)


def with_sections(card: str, sections: tuple[str, ...]) -> str:
    """A card with the kept sections at its end, but for those that it has; the rest stays as it is."""
    # A card that a person corrected in the output folder may have brought them along.
    missing = [section for section in sections if section not in card]
    if not missing:
        return card
    return "\n\n".join([card.rstrip("\n"), *missing]) + "\n"


def without_sections(card: str) -> str:
    """A card as it was before `with_sections`, ending in one line feed.

    Raises:
        PublishError: as `kept_sections`.
    """
    for section in kept_sections(card):
        card = card.replace(section, "", 1)
    return card.rstrip("\n") + "\n"


def _unpaired(word: str, name: str) -> PublishError:
    other = "end" if word == "keep" else "keep"
    return PublishError(
        f"the published card has a marker `{word} {name}` without its `{other} {name}`",
        hint="Correct the card on the Hub; publishing now would lose what was written there by hand.",
    )
