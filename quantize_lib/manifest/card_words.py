"""`publish.card` in the Hub's words, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quantize_lib.source import card_rules
from quantize_lib.source.card_lists import LANGUAGE_NAMES
from quantize_lib.wording import meant, show


def resolve_card(given: Mapping[str, Any], report: Callable[[str, str], None]) -> dict[str, Any]:
    """What the cards are to say, as the Hub writes it.

    Args:
        given: a checked `publish.card`.
        report: gets every key whose value the Hub is sure to refuse, and the reason.
    """
    found = dict(given)
    for key, words in (
        ("license", card_rules.license_id),
        ("license_name", card_rules.license_name),
        ("license_link", card_rules.license_link),
    ):
        if key in found:
            found[key] = _each(found[key], words)
    if "language" in found:
        for text in found["language"] if isinstance(found["language"], list) else [found["language"]]:
            if card_rules.language_code(text) is None:
                near = meant(text, LANGUAGE_NAMES, {})
                report("language", f"{show(text)} is no language; use ISO 639 codes, such as `en`.{near}")
        found["language"] = _each(found["language"], lambda text: card_rules.language_code(text) or text)
    if found.get("license_name") == "":
        report("license_name", f"{show(given['license_name'])} has no letter or digit that the Hub takes.")
    else:
        for fault in card_rules.faults(found):
            report(fault.key, f"{fault.message}.".replace("?.", "?"))
    for tag in found.get("tags", ()):
        if "," in tag or tag != " ".join(tag.split()):
            report("tags", f"{show(tag)} is no tag; a tag has no comma, and no space at either end.")
    return found


def _each(value: Any, words: Callable[[str], str]) -> Any:
    """A text, or each of a list of texts once."""
    return list(dict.fromkeys(map(words, value))) if isinstance(value, list) else words(value)
