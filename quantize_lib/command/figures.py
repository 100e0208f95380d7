"""The file of figures that a test command writes: a JSON object of names and finite numbers, and no more."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_FIGURES = 100
_MAX_BYTES = 64 * 2**10
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NAME_WORDS = "at most 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`"


class FiguresError(Exception):
    """What is wrong with a file of figures, as a sentence goes on after its name."""


def read_figures(path: Path) -> dict[str, float]:
    """The figures by name; none where there is no file.

    Raises:
        FiguresError: where it is anything else.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise FiguresError("is no file")
        if status.st_size > _MAX_BYTES:
            raise FiguresError(f"is larger than {_MAX_BYTES} bytes")
        data = json.loads(path.read_bytes(), object_pairs_hook=_object, parse_constant=_no_number)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FiguresError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FiguresError(f"is not JSON: {error}") from error
    return checked_figures(data)


def checked_figures(data: Any) -> dict[str, float]:
    """Figures from plain data.

    Raises:
        FiguresError: where it is no object of names and finite numbers.
    """
    if not isinstance(data, Mapping):
        raise FiguresError("is no object of names and numbers")
    if len(data) > MAX_FIGURES:
        raise FiguresError(f"has {len(data)} figures; at most {MAX_FIGURES} are allowed")
    return {_name(name): _number(name, value) for name, value in data.items()}


def _name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise FiguresError(f"has the name {_short(name)}; allowed are {_NAME_WORDS}")
    return name


def _number(name: str, value: Any) -> float:
    # To Python true and false are numbers, too.
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FiguresError(f"has {_short(value)} as {name}, which is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FiguresError(f"has a number as {name} that is not finite")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise FiguresError(f"has {_short(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _no_number(word: str) -> Any:
    raise FiguresError(f"has {word}, which is no number in JSON")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
