"""The manifest's schema: the file that ships, with what the entries of the axes add to it.

An entry's part (its name among the values of a key, its settings, its messages) is written once, in the
entry. `tools/schemas.py` writes the whole into the file, which is what others read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from quantize_lib.manifest.limit_words import complete_limits
from quantize_lib.manifest.mix_words import complete_mix
from quantize_lib.manifest.publish_words import complete_publish
from quantize_lib.manifest.schema_entries import complete_entries
from quantize_lib.manifest.state_words import complete_state
from quantize_lib.schemas import completed

COMPLETING: tuple[Callable[[dict[str, Any]], None], ...] = (
    complete_entries,
    complete_publish,
    complete_state,
    complete_limits,
    complete_mix,
)
"""One function an axis; see `schemas.completed`."""


@cache
def manifest_schema() -> dict[str, Any]:
    """The whole schema of a manifest; callers do not change it."""
    return completed("quantize", *COMPLETING)


def definition(name: str) -> dict[str, Any]:
    """One of the schema's definitions (`group_size`, `text`, …)."""
    found: dict[str, Any] = manifest_schema()["$defs"][name]
    return found


def defaults_of(name: str) -> dict[str, Any]:
    """The defaults that a definition's own properties declare (`publish`, `runners`, `text`)."""
    return {
        key: words["default"] for key, words in definition(name)["properties"].items() if "default" in words
    }
