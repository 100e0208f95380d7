"""The axis of methods: how weights are rounded. One entry a file; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quantize_lib.methods.entry import GRID, InputShape, Method
from quantize_lib.methods.settings import AUTO_FORMAT, GroupSize, Override, Setting, Settings, settings_of
from quantize_lib.registry import find_entries, get_entry

__all__ = [
    "AUTO_FORMAT",
    "DEFAULT_METHOD",
    "GRID",
    "METHODS",
    "SETTINGS",
    "GroupSize",
    "InputShape",
    "Method",
    "Override",
    "Setting",
    "Settings",
    "get_method",
    "settings_of",
    "takers",
]

METHODS = cast(Mapping[str, Method], find_entries(__name__, __path__, "METHOD"))
"""By name, in the order in which they are listed."""
DEFAULT_METHOD = next(iter(METHODS))
"""What the command line takes where it says nothing."""
SETTINGS: Mapping[str, Setting[Any]] = {
    setting.name: setting for method in METHODS.values() for setting in method.settings
}
"""Every method's settings by name, in the order of the methods."""


def get_method(name: str) -> Method:
    """The entry of that name; a manifest's or a job's is known to be one.

    Raises:
        KeyError: where there is none.
    """
    return get_entry(METHODS, name, "method")


def takers(setting: Setting[Any]) -> list[Method]:
    """The methods that take a setting."""
    return [method for method in METHODS.values() if setting in method.settings]
