"""What the manifest's schema says of state that comes from the stores, and `state` as it is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.options import resolved
from quantize_lib.schemas import put_owned
from quantize_lib.state_stores import (
    DEFAULT_STORE,
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
    keys = schema["$defs"][STATE]["properties"]
    places = [f"`{store.name}`, {store.summary}" for store in STATE_STORES.values()]
    keys[WHERE] = {
        "title": "Store",
        "description": f"{'; '.join(places[:-1])}; or {places[-1]}.",
        "enum": list(STATE_STORES),
        "default": DEFAULT_STORE,
    }
    put_owned(
        keys,
        "x-stores",
        {name: (option.manifest_words, owners) for name, (option, owners) in all_options().items()},
    )


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
