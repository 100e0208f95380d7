"""A card's metadata in its text: looked at, and changed without touching the rest of what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.errors import PublishError
from quantize_lib.source.base_card import KEY
from quantize_lib.text import plain

FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
"""Its group is the metadata."""


def metadata_of(card: str) -> dict[str, Any]:
    """A card's metadata, as YAML types it.

    Raises:
        PublishError: where it is not YAML; the message says what is wrong, not where the card lies.
    """
    import yaml

    found = FRONT_MATTER.match(card)
    try:
        data = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PublishError(f"its metadata is not YAML: {plain(str(error))}") from None
    if data is not None and not isinstance(data, dict):
        raise PublishError("its metadata is no mapping")
    return {str(key): value for key, value in (data or {}).items()}


def with_metadata(card: str, values: Mapping[str, Any]) -> str:
    """A card whose metadata has these values; other lines stay as they are.

    Args:
        values: by key; None takes a key out.
    """
    from huggingface_hub import ModelCardData

    found = FRONT_MATTER.match(card)
    lines = found[1].splitlines(keepends=True) if found else []
    kept = "".join("".join(block) for key, block in _blocks(lines) if key not in values)
    added = {key: value for key, value in values.items() if value is not None}
    new = f"{ModelCardData(**added).to_yaml()}\n" if added else ""
    rest = card[found.end() :] if found else f"\n{card}"
    return f"---\n{kept}{new}---\n{rest}"


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines of each top-level key; what stands before the first one belongs to none."""
    key, block = "", list[str]()
    for line in lines:
        if found := KEY.match(line):
            if block:
                yield key, block
            key, block = found[1], []
        block.append(line)
    if block:
        yield key, block
