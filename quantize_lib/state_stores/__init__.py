"""The axis of state stores: where unfinished work is kept. One entry a file; no network is needed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quantize_lib.options import Option, labelled, own_values, owners_of
from quantize_lib.registry import find_entries, get_entry
from quantize_lib.state_stores.entry import StateSpec, StateStore

__all__ = [
    "DEFAULT_STORE",
    "STATE_STORES",
    "StateSpec",
    "StateStore",
    "all_options",
    "beyond_output",
    "get_state_store",
    "state_label",
    "state_spec",
]

STATE_STORES = cast(Mapping[str, StateStore], find_entries(__name__, __path__, "STATE_STORE"))
"""By name, in the order in which they are listed."""
DEFAULT_STORE = next(iter(STATE_STORES))
"""Where state is kept when a manifest says nothing."""


def get_state_store(name: str) -> StateStore:
    """The entry of that name; a manifest's is known to be one.

    Raises:
        KeyError: where there is none, with the names that there are and the nearest.
    """
    return get_entry(STATE_STORES, name, "state store")


def all_options() -> dict[str, tuple[Option[Any], list[str]]]:
    """Every option by name, with the names of the stores that it belongs to."""
    return owners_of(STATE_STORES.values())


def state_label(spec: StateSpec) -> str:
    """Where state is kept, for people."""
    return labelled(get_state_store(spec.store), spec)


def beyond_output(spec: StateSpec) -> bool:
    """Whether state is kept anywhere but in the output folder."""
    return get_state_store(spec.store).keeper is not None


def state_spec(store: str = DEFAULT_STORE, **values: Any) -> StateSpec:
    """Where state is kept, from resolved values by name; those of other stores are left out."""
    return StateSpec(store=store, options=own_values(get_state_store(store), values))
