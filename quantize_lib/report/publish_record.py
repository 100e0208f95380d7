"""Where checkpoints go, as a report keeps it for `publish DIR`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.targets import PublishSpec, all_options, get_target, publish_spec

_TERMS = "terms_allow_public"


def publish_to_json(spec: PublishSpec, folder: Path) -> dict[str, Any]:
    """The report's `publish`.

    Args:
        folder: the report's; paths are relative to it.
    """
    options = all_options()
    shared = {name: None for name, (option, _) in options.items() if option.always_written}
    own = {option.name: option.to_report(spec[option], folder) for option in get_target(spec.to).options}
    terms = {_TERMS: spec.terms_allow_public} if get_target(spec.to).is_open else {}
    return {"to": spec.to, **shared, "private": spec.private, **terms, **own}


def publish_from_json(data: Mapping[str, Any], folder: Path) -> PublishSpec:
    """What the report's `publish` stands for; it follows the schema.

    A report of an earlier version lacks later options, which asks for their defaults.
    """
    own = {
        option.name: option.from_report(data[option.name], folder)
        for option in get_target(data["to"]).options
        if option.name in data
    }
    return publish_spec(
        data["to"], private=data["private"], terms_allow_public=data.get(_TERMS, False), **own
    )
