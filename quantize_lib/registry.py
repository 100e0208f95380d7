"""Finds the entries of an axis: the modules of a folder that define one."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol, TypeVar

from quantize_lib.wording import meant


class Entry(Protocol):
    """What every entry says."""

    @property
    def name(self) -> str: ...

    @property
    def order(self) -> int: ...


E = TypeVar("E", bound=Entry)


def find_entries(package: str, path: Iterable[str], attribute: str) -> dict[str, object]:
    """The entries of a folder by name, in the order that they say, then by name.

    Args:
        package: its full name.
        path: its `__path__`.
        attribute: what a module with an entry calls it.
    """
    found: list[Entry] = []
    for module in pkgutil.iter_modules(path):
        entry = getattr(import_module(f"{package}.{module.name}"), attribute, None)
        if entry is not None:
            found.append(entry)
    found.sort(key=lambda entry: (entry.order, entry.name))
    return {entry.name: entry for entry in found}


def get_entry(entries: Mapping[str, E], name: str, kind: str) -> E:
    """The entry of that name.

    Raises:
        KeyError: where there is none, with the names that there are and the nearest.
    """
    if name in entries:
        return entries[name]
    raise KeyError(f"there is no {kind} {name!r}; there are {', '.join(entries)}.{meant(name, entries)}")


def load(place: str) -> Any:
    """What a "module:name" names, imported at its first use."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
