"""The axis of formats: how rounded weights are stored. One entry a file; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quantize_lib.errors import UsageError
from quantize_lib.formats.entry import BlockShape, CheckpointContext, Format, Misfit, Traits
from quantize_lib.methods import AUTO_FORMAT, Method, Setting, Settings, get_method
from quantize_lib.registry import find_entries, get_entry

__all__ = [
    "FORMATS",
    "BlockShape",
    "CheckpointContext",
    "Format",
    "Misfit",
    "Traits",
    "format_of_config",
    "formats_for",
    "get_format",
    "named_format",
    "resolve_format",
    "takes",
]

FORMATS = cast(Mapping[str, Format], find_entries(__name__, __path__, "FORMAT"))
"""By name, in the order in which they are listed."""


def get_format(name: str) -> Format:
    """The entry of that name; a manifest's or a job's is known to be one.

    Raises:
        KeyError: where there is none.
    """
    return get_entry(FORMATS, name, "format")


def formats_for(method: Method) -> list[Format]:
    """The formats that store what a method gives, its own first."""
    own = get_format(method.formats[0])
    return [own, *(entry for entry in FORMATS.values() if entry is not own and entry.holds(method))]


def named_format(settings: Settings) -> Format:
    """The format that the settings name; for `auto` the method's own, as long as the model is not known."""
    name = settings.format
    return get_format(get_method(settings.method).formats[0] if name == AUTO_FORMAT else name)


def resolve_format(settings: Settings, traits: Traits) -> Format:
    """The format of a cell: the one that was asked for, or the method's first that can hold the model.

    Raises:
        UsageError: where it, or each of them, cannot.
    """
    asked = settings.format != AUTO_FORMAT
    names = (settings.format,) if asked else get_method(settings.method).formats
    reasons = []
    for entry in map(get_format, names):
        reason = entry.refuses(traits)
        if reason is None and settings.bits in entry.bits:
            return entry
        reasons.append(f"{entry.name}: {reason or f'it has no {settings.bits} bits'}")
    if asked:
        hint = "Leave `format` out: one that can hold the model is taken then."
        raise UsageError(f"format {'; '.join(reasons)}", hint=hint)
    raise UsageError(
        f"no format of {settings.method} can hold the model ({'; '.join(reasons)})",
        hint="Take another method.",
    )


def format_of_config(quantization: Mapping[str, Any]) -> Format | None:
    """The format of a checkpoint by its `quantization_config`; None for a model that has none of ours."""
    found = (entry for entry in FORMATS.values() if entry.quant_method == quantization.get("quant_method"))
    return next(found, None)


def takes(settings: Settings, setting: Setting[Any]) -> bool:
    """Whether a setting means something to the cell's method at its bits, and can be more than one value."""
    entry = named_format(settings)
    return get_method(settings.method).takes(setting, settings.bits) and not (
        setting.name in entry.fixed and entry.fixed[setting.name][0] == setting.default
    )
