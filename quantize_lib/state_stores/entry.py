"""What a state store's entry says: everything that is known of it without keeping anything there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.options import Option, OptionValues, nothing_to_check


@dataclass(frozen=True, kw_only=True)
class StateStore:
    """A place for the state of unfinished jobs. A new one is a file here, and its keeper in `kept_state/`.

    Attributes:
        name: in manifests and plans.
        order: its place in lists; the first is the default.
        summary: a few words for the manifest's schema, after its name.
        label: where state is kept, for people; `{option}` is that option's value.
        keeper: "module:name" of what makes its `kept_state.base.Store` of a `StateSpec`; None where the
            output folder is all there is.
        options: what only it takes.
        check: gives every option that is missing or wrong, with the reason; it gets a manifest's values.
    """

    name: str
    order: int
    summary: str
    label: str
    keeper: str | None = None
    options: tuple[Option[Any], ...] = ()
    check: Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]] = nothing_to_check


@dataclass(frozen=True, kw_only=True)
class StateSpec(OptionValues):
    """Where the state of unfinished jobs is kept, as a manifest says it; `state_spec` makes one.

    Attributes:
        store: the store's name.
    """

    store: str
