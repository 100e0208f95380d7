"""The JSON Schemas that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
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


def completed(name: str, *completing: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A copy of a schema with what the entries of the axes add to it.

    Args:
        completing: each writes its part into the schema, also over that of an older file. Keys that are there
            keep their place, and what no entry has any more is taken out.
    """
    schema = deepcopy(load_schema(name))
    for complete in completing:
        complete(schema)
    return schema


def put_owned(
    keys: dict[str, Any], mark: str, owned: Mapping[str, tuple[Mapping[str, Any], list[str]]]
) -> None:
    """Write the keys that belong to entries of an axis into a schema's `properties`.

    Args:
        keys: the properties; those of an entry that is gone are taken out.
        mark: the annotation that says whose a key is, as `x-targets`.
        owned: for each key its schema, and the names of its entries.
    """
    for gone in [key for key, words in keys.items() if mark in words and key not in owned]:
        del keys[gone]
    keys.update({key: {**words, mark: names} for key, (words, names) in owned.items()})


def definition(name: str) -> dict[str, Any]:
    """One of the definitions in the manifest schema's file, without what entries add to it."""
    found: dict[str, Any] = load_schema("quantize")["$defs"][name]
    return found
