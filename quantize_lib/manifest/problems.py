"""Problems of a manifest: found one by one, told in one go, each with its place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from quantize_lib.errors import ManifestError

Path = tuple[str | int, ...]
"""Where a value stands: `("models", 0, "quantize", 1, "bits")`."""

_SHOWN = 60
_LISTED = 24
SHOWN_PATH = 4096
_MEANT = {
    "bnb": "bitsandbytes",
    "int8": "bitsandbytes",
    "yes": "true",
    "on": "true",
    "no": "false",
    "off": "false",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem, with the place to look at.

    Attributes:
        place: `quantize.yml`, or the name of an option of the command line.
        line: counted from 1; 0 where there is no line (a missing file, the command line).
        column: counted from 1; 0 where there is none.
        message: what is wrong, with the path inside the manifest, and what is allowed.
    """

    place: str
    line: int = 0
    column: int = 0
    message: str

    def __str__(self) -> str:
        position = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.place}{position}: {self.message}"


class InvalidManifestError(ManifestError):
    """The manifest is wrong; `problems` holds every problem found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(map(str, self.problems)), hint=hint)


def show(value: Any, *, limit: int = _SHOWN) -> str:
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


def show_path(path: Path) -> str:
    """`models[0].quantize[1].bits`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if part.isprintable() and len(part) <= _SHOWN else json.dumps(part[:_SHOWN])
            text += f".{key}" if text else key
    return text


def allowed(values: Iterable[Any]) -> str:
    """`Allowed: 2, 3, 4, 8.`, without the end of a long list."""
    words = [_plain(value) for value in values]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return f"Allowed: {', '.join(words[:_LISTED])}{more}."


def meant(word: Any, known: Iterable[Any]) -> str:
    """` Perhaps you meant `…`?`, or nothing where no known word is near."""
    if not isinstance(word, str):
        return ""
    names = {_plain(name).lower(): _plain(name) for name in known}
    near = _MEANT.get(word.lower(), "")
    if near not in names:
        near = next(iter(difflib.get_close_matches(word.lower()[:200], names, n=1)), "")
    return f" Perhaps you meant `{names[near]}`?" if near else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
