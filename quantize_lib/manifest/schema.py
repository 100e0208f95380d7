"""The JSON Schemas that ship with the package, and what they say beyond validity.

`schemas/quantize.schema.json` is the one truth for the manifest: allowed keys, types, limits, defaults. Three
annotations of ours are read here: `x-methods` and `x-bits` (which methods take a setting) and `x-calibrated`
(which methods learn from calibration text).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel the schemas lie inside the package; in a checkout beside it. The package's own folder goes first:
# what lies beside an installed package is not ours.
_FOLDERS = (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")


@cache
def load_schema(name: str) -> dict[str, Any]:
    """The schema `schemas/{name}.schema.json`, as it ships; callers do not change it.

    Raises:
        FileNotFoundError: where no such schema ships.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.schema.json"
        if path.is_file():
            schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return schema
    raise FileNotFoundError(f"{name}.schema.json is not in {' or '.join(map(str, _FOLDERS))}")


def definition(name: str) -> dict[str, Any]:
    """One of the manifest schema's definitions (`group_size`, `text`, …)."""
    found: dict[str, Any] = load_schema("quantize")["$defs"][name]
    return found


@cache
def setting_names() -> tuple[str, ...]:
    """The settings that `defaults` may hold and an entry may override, in the schema's order."""
    return tuple(key for key in definition("entry")["properties"] if "x-methods" in definition_or_empty(key))


def definition_or_empty(name: str) -> dict[str, Any]:
    """As `definition`, but empty where there is none."""
    found: dict[str, Any] = load_schema("quantize")["$defs"].get(name, {})
    return found


def takes(setting: str, method: str, bits: int) -> bool:
    """Whether a method with these bits takes a setting such as `group_size`."""
    words = definition(setting)
    return method in words["x-methods"] and bits in words.get("x-bits", (bits,))


def is_calibrated(method: str) -> bool:
    """Whether calibration text has a part in what the method makes."""
    return method in definition("method")["x-calibrated"]


def experimental_bits(method: str) -> tuple[int, ...]:
    """Bit widths of a method that are allowed but experimental."""
    return tuple(definition(f"{method}_bits").get("x-experimental", ()))


def defaults_of(name: str) -> dict[str, Any]:
    """The defaults that a definition's own properties declare (`publish`, `runners`, `text`)."""
    return {
        key: words["default"] for key, words in definition(name)["properties"].items() if "default" in words
    }
