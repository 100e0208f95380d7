"""The JSON Schemas that ship with the package."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
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
    """One of the definitions in the manifest schema's file, without what entries add to it."""
    found: dict[str, Any] = load_schema("quantize")["$defs"][name]
    return found


def definition_or_empty(name: str) -> dict[str, Any]:
    """As `definition`, but empty where there is none."""
    found: dict[str, Any] = load_schema("quantize")["$defs"].get(name, {})
    return found
