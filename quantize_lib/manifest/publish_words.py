"""What the manifest's schema says of publishing that comes from the targets, and `publish` as it is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.manifest.option_words import complete_options
from quantize_lib.options import resolved
from quantize_lib.targets import TARGETS, PublishSpec, all_options, get_target, publish_spec


def complete_publish(schema: dict[str, Any]) -> None:
    """Write the targets' names and options into the manifest's schema."""
    complete_options(schema, "publish", "to", TARGETS, title="Target", mark="x-targets")


def resolve_publish(
    given: Mapping[str, Any], defaults: Mapping[str, Any], base: Path, report: Callable[[str, str], None]
) -> PublishSpec:
    """A checked `publish` with its defaults filled in and paths made absolute.

    Args:
        given: what the manifest says.
        defaults: of the schema.
        base: the folder that paths are relative to.
        report: gets every key that does not go with the others, and the reason.
    """
    values = {**defaults, **given}
    target = get_target(values["to"])
    for name, (option, owners) in all_options().items():
        asked = name in given and given[name] != defaults.get(name)
        if asked and target.name not in owners and not option.for_others:
            those = " or ".join(f"`to: {owner}`" for owner in owners)
            report(name, f"{target.place} has none; it is for {those}.")
    for key, reason in target.check(values):
        report(key, reason)
    own = resolved(target, values, base)
    return publish_spec(target.name, **{key: value for key, value in values.items() if key != "to"} | own)
