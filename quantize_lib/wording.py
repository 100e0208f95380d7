"""Values and names in messages: shown safely, listed, and suggested."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = 60
"""Characters of a value that a message shows."""
SHOWN_PATH = 4096
_LISTED = 24
_SWITCHES = {
    "yes": "true",
    "on": "true",
    "no": "false",
    "off": "false",
}


def show(value: Any, *, limit: int = SHOWN) -> str:
    """A value for a message: on one line, without control characters, not longer than `limit`."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        text = value if value.isprintable() else json.dumps(value)
    else:
        return json.dumps(value)
    return f"`{text if len(text) <= limit else text[: limit - 1] + '…'}`"


def allowed(values: Iterable[Any]) -> str:
    """`Allowed: 2, 3, 4, 8.`, without the end of a long list."""
    words = [_plain(value) for value in values]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return f"Allowed: {', '.join(words[:_LISTED])}{more}."


def meant(word: Any, known: Iterable[Any], also: Mapping[str, str] = _SWITCHES) -> str:
    """` Perhaps you meant `…`?`, or nothing where no known word is near.

    Args:
        also: words that people try, each with the known word that it stands for.
    """
    if not isinstance(word, str):
        return ""
    names = {_plain(name).lower(): _plain(name) for name in known}
    near = also.get(word.lower(), "")
    if near not in names:
        near = next(iter(difflib.get_close_matches(word.lower()[:200], names, n=1)), "")
    return f" Perhaps you meant `{names[near]}`?" if near else ""


def joined(words: Iterable[str], last: str = "and") -> str:
    """`a, b and c`; nothing of no words."""
    *first, end = list(words) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
