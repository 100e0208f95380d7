"""What the manifest's schema says of state that comes from the stores, and `state` as it is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.manifest.option_words import complete_options
from quantize_lib.options import resolved
from quantize_lib.state_stores import (
    STATE_STORES,
    StateSpec,
    all_options,
    get_state_store,
    state_spec,
)

STATE = "state"
"""The manifest's key."""
WHERE = "in"
"""The key of it that names the store."""


def complete_state(schema: dict[str, Any]) -> None:
    """Write the stores' names and options into the manifest's schema."""
    complete_options(schema, STATE, WHERE, STATE_STORES, title="Store", mark="x-stores", comma=";")


def resolve_state(
    given: Mapping[str, Any], defaults: Mapping[str, Any], base: Path, report: Callable[[str, str], None]
) -> StateSpec:
    """A checked `state` with its defaults filled in and paths made absolute.

    Args:
        given: what the manifest says.
        defaults: of the schema.
        base: the folder that paths are relative to.
        report: gets every key that is wrong or missing, and the reason.
    """
    values = {**defaults, **given}
    store = get_state_store(values[WHERE])
    for name, (_, owners) in all_options().items():
        if name in given and store.name not in owners:
            those = " or ".join(f"`{WHERE}: {owner}`" for owner in owners)
            report(name, f"`{WHERE}: {store.name}` has none; it is for {those}.")
    for key, reason in store.check(values):
        report(key, reason)
    own = resolved(store, values, base)
    return state_spec(store.name, **own)
