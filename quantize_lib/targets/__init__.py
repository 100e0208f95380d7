"""The axis of targets: where checkpoints are published. One entry a file; nothing here needs the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from quantize_lib.options import Option, labelled, own_values, owners_of
from quantize_lib.registry import find_entries, get_entry
from quantize_lib.targets.entry import Target
from quantize_lib.targets.publish_spec import PublishSpec

__all__ = [
    "DEFAULT_TARGET",
    "TARGETS",
    "PublishSpec",
    "Target",
    "all_options",
    "get_target",
    "label",
    "publish_spec",
]


TARGETS = cast(Mapping[str, Target], find_entries(__name__, __path__, "TARGET"))
"""By name, in the order in which they are listed."""
DEFAULT_TARGET = next(iter(TARGETS))
"""Where checkpoints go when a manifest says nothing."""
_COMMON = {field.name for field in fields(PublishSpec)} - {"to", "options"}


def get_target(name: str) -> Target:
    """The entry of that name; a manifest's or a report's is known to be one.

    Raises:
        KeyError: where there is none, with the names that there are and the nearest.
    """
    return get_entry(TARGETS, name, "target")


def all_options() -> dict[str, tuple[Option[Any], list[str]]]:
    """Every option by name, with the names of the targets that it belongs to."""
    return owners_of(TARGETS.values())


def label(spec: PublishSpec) -> str:
    """Where checkpoints are published to, for people."""
    return labelled(get_target(spec.to), spec)


def publish_spec(to: str, **values: Any) -> PublishSpec:
    """Where checkpoints go, from resolved values by name.

    Args:
        to: the target's name.
        values: of what every target has, and of the target's own options; others' are left out.
    """
    common = {key: value for key, value in values.items() if key in _COMMON}
    return PublishSpec(to=to, options=own_values(get_target(to), values), **common)
