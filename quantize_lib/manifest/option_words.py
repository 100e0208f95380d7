"""What the manifest's schema says of a key that names an entry of an axis, beside that entry's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from quantize_lib.options import HasOptions, owners_of
from quantize_lib.schemas import put_owned


class Summarized(HasOptions, Protocol):
    """An entry that the schema lists."""

    @property
    def summary(self) -> str:
        """A few words for the manifest's schema, after its name."""


def complete_options(
    schema: dict[str, Any],
    section: str,
    key: str,
    entries: Mapping[str, Summarized],
    *,
    title: str,
    mark: str,
    comma: str = ",",
) -> None:
    """Write entries' names and options into a section of the manifest's schema.

    Args:
        section: of the definitions.
        key: the one that names an entry; the first is its default.
        mark: under which the schema says whose each option is.
        comma: between entries, where these have commas of their own.
    """
    keys = schema["$defs"][section]["properties"]
    places = [f"`{entry.name}`, {entry.summary}" for entry in entries.values()]
    keys[key] = {
        "title": title,
        "description": f"{f'{comma} '.join(places[:-1])}{comma} or {places[-1]}.",
        "enum": list(entries),
        "default": next(iter(entries)),
    }
    owned = owners_of(entries.values())
    put_owned(keys, mark, {name: (option.manifest_words, owners) for name, (option, owners) in owned.items()})
