"""What the entries of methods and formats add to the schemas of what is planned, sent and reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.formats import FORMATS
from quantize_lib.methods import METHODS, SETTINGS
from quantize_lib.methods.settings import SHARED

_WORDS = ("type", "enum", "minimum", "maximum")
"""Of a setting's words those that say what a value may be."""


def complete_cell(keys: dict[str, Any]) -> None:
    """Write what a cell can be into a schema's `properties` that has `method`, and may have `bits` as an enum
    and `format`."""
    keys["method"]["enum"] = list(METHODS)
    if "enum" in keys["bits"]:
        keys["bits"]["enum"] = all_bits()
    keys["format"]["enum"] = [*(value for value in keys["format"]["enum"] if value is None), *FORMATS]


def all_bits() -> list[int]:
    """The widths of all methods."""
    return sorted({width for method in METHODS.values() for width in method.bits})


def settings_words(written: Mapping[str, Any]) -> dict[str, Any]:
    """A schema's `properties` of the settings of any method.

    Args:
        written: those of the file, whose words stand for the settings that methods share.
    """
    own = {
        name: {word: setting.words[word] for word in _WORDS if word in setting.words}
        for name, setting in SETTINGS.items()
        if name not in SHARED
    }
    return {**{name: written[name] for name in SHARED}, **own}
