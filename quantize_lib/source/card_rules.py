"""What the Hub takes in a card's metadata: values as it writes them, and what it is sure to refuse.

A value is put into the Hub's words where its meaning is sure (`Apache 2.0`, `English`, `en_US`); nothing is
guessed. What is well formed and not in the Hub's lists is not refused here: the lists are longer by now, and
the Hub itself is asked before anything is computed (`publish.base.Publisher.refusal`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from quantize_lib.source.card_lists import (
    LANGUAGE_NAMES,
    LANGUAGES,
    LICENSES,
    PIPELINES,
    SPECIAL_LANGUAGES,
)
from quantize_lib.wording import meant, show

OTHER = "other"
"""The licence id of whatever has no id; `license_name` and `license_link` then say which it is."""
LICENSE_KEYS = ("license", "license_name", "license_link")
LICENSE_FILES = ("LICENSE", "LICENSE.md")
"""The files of a repository that `license_link` may name; anything else is an address."""
KEYS = (*LICENSE_KEYS, "language", "pipeline_tag")
"""What a checkpoint's card takes from the base model's."""
HELP = "https://huggingface.co/docs/hub/repositories-licenses"

_ID = re.compile(r"[a-z0-9.+-]*[a-z][a-z0-9.+-]*")
_NAME = re.compile(r"[a-z0-9.-]+")
_PIPELINE = re.compile(r"[a-z0-9-]*[a-z][a-z0-9-]*")
_LOCALE = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{2,8})+(?:[.@][a-z0-9-]+)*")
_PHRASES = {
    "affero general public": "agpl",
    "lesser general public": "lgpl",
    "general public": "gpl",
    "mozilla public": "mpl",
    "eclipse public": "epl",
    "boost software": "bsl",
    "creative commons zero": "cc0",
    "creative commons": "cc",
    "noncommercial": "nc",
    "non commercial": "nc",
    "sharealike": "sa",
    "share alike": "sa",
    "noderivatives": "nd",
    "no derivatives": "nd",
    "attribution": "by",
}
"""Words of a licence's full name, with those of its id."""
_IDLE = frozenset(
    {
        *("the", "a", "gnu", "software", "license", "licence", "licensed", "under", "version", "v"),
        "meta",
        *("agreement", "community", "terms", "of", "use", "international", "unported"),
    }
)
"""Words that stand in names and ids alike without telling one licence from another."""
_SAME_TEXT = (("only",), ("or", "later"), ("+",))
"""SPDX's endings of the GNU licences: the text is the same, and the Hub has one id for it."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the Hub is sure to refuse of a card's metadata.

    Attributes:
        key: of the metadata, and of `publish.card`.
        message: what is wrong with its value, without a full stop.
    """

    key: str
    message: str


def license_id(text: str) -> str:
    """A licence as the Hub writes it; the text itself where it is not known to have an id there."""
    text = text.strip()
    if _ID.fullmatch(text.lower()):
        if text.lower() in LICENSES:
            return text.lower()
        return _by_words().get(_words(text), text.lower())
    return _by_words().get(_words(text), text)


def is_exact(text: str, found: str) -> bool:
    """Whether a licence's id on the Hub says all that was written: it has none for “or any later version”."""
    words = _words(text)
    return found == text or (words[-2:] != ("or", "later") and words[-1:] != ("+",))


def license_name(text: str) -> str:
    """A licence's name as the Hub takes it: `Acme License v1` as `acme-license-v1`; it may leave nothing."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.strip().lower()).strip("-")


def license_link(text: str) -> str:
    """A licence's address, or one of `LICENSE_FILES`; the text itself where it is neither."""
    text = text.strip()
    bare = text.removeprefix("./")
    return bare if bare in LICENSE_FILES else text


def language_code(text: str) -> str | None:
    """A language as the Hub writes it: ISO 639 in lower case; None where it is not known to be one."""
    word = " ".join(text.split()).lower()
    if word in SPECIAL_LANGUAGES or word in LANGUAGES:
        return word
    if re.fullmatch("[a-z]{3}", word):
        # ISO 639-2 and 639-3 have eight thousand of them.
        return LANGUAGE_NAMES.get(word, word)
    found = _LOCALE.fullmatch(word)
    if found and (len(found[1]) == 3 or found[1] in LANGUAGES):
        return found[1]
    return LANGUAGE_NAMES.get(word)


def pipeline_tag(text: str) -> str | None:
    """A pipeline's tag as the Hub writes it; None where it cannot be one."""
    word = re.sub(r"[\s_]+", "-", text.strip().lower())
    return PIPELINES.get(word, word) if _PIPELINE.fullmatch(word) else None


def stated(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says in the end: the manifest's words go before the base card's.

    Args:
        fields: of the base model's card.
        given: the manifest's `publish.card`. A name and a link belong to their licence, so a licence takes
            those of the base card away.
    """
    rest = {key: value for key, value in fields.items() if "license" not in given or key not in LICENSE_KEYS}
    return {**rest, **given}


def faults(fields: Mapping[str, Any]) -> Iterator[Fault]:
    """What the Hub is sure to refuse of metadata that was put into its words."""
    for one in _listed(fields.get("license")):
        if not _ID.fullmatch(one):
            yield Fault(
                key="license",
                message=f"{show(one)} is no licence id of the Hub.{meant(one, LICENSES, {})}".rstrip("."),
            )
    name, link = fields.get("license_name"), fields.get("license_link")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        yield Fault(
            key="license_name",
            message=f"{show(name)} is not of lower-case letters, digits, `-` and `.` alone",
        )
    if isinstance(link, str) and not is_link(link):
        yield Fault(
            key="license_link",
            message=f"{show(link)} is neither an address (https://…) nor `LICENSE` or `LICENSE.md`",
        )


def doubts(fields: Mapping[str, Any]) -> Iterator[str]:
    """What the Hub, or a reader of the card, may not be content with; sentences without a full stop."""
    licenses = _listed(fields.get("license"))
    for one in licenses:
        if _ID.fullmatch(one) and one not in LICENSES:
            yield (
                f"the licence {show(one)} is not among the ids that the Hub is known to take ({HELP})."
                f"{meant(one, LICENSES, {})} `publish.card` can say `license: other` with a `license_name`"
            )
    if OTHER in licenses and not fields.get("license_name"):
        yield (
            "the card says `license: other` and not which that is; `publish.card.license_name` and "
            "`license_link` can say it"
        )


def _listed(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def is_link(text: str) -> bool:
    """Whether the Hub takes a text as a licence's link."""
    if text in LICENSE_FILES:
        return True
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname) and not re.search(r"\s", text)
    except ValueError:
        return False


@cache
def _by_words() -> dict[tuple[str, ...], str]:
    found = {_words(one): one for one in LICENSES}
    for one in LICENSES:
        if one.startswith(("gpl", "lgpl", "agpl", "gfdl")):
            found |= {(*_words(one), *ending): one for ending in _SAME_TEXT}
    return found


def _words(text: str) -> tuple[str, ...]:
    """What tells a licence from others, of its name or id: `Apache License, Version 2` as `apache 2.0`."""
    lower = " ".join(re.findall(r"[a-z]+|\d+(?:\.\d+)*|\++", text.lower()))
    for phrase, short in _PHRASES.items():
        lower = lower.replace(phrase, short)
    # `GPLv3` is `gpl v 3`.
    words = re.findall(r"[a-z]+?(?=v\b)|[a-z]+|[\d.]+|\++", lower)
    return tuple(_number(word) for word in words if word not in _IDLE)


def _number(word: str) -> str:
    return f"{word}.0" if word.isdigit() else word
