"""The settings of an entry: its own, then those of `defaults` that its method and format take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.formats import formats_for, get_format, named_format, takes
from quantize_lib.methods import AUTO_FORMAT, SETTINGS, Settings, get_method, settings_of
from quantize_lib.methods.common import OVERRIDES
from quantize_lib.methods.settings import plain_value
from quantize_lib.wording import allowed, show


def entry_settings(entry: Mapping[str, Any], defaults: Mapping[str, Any], bits: int) -> Settings:
    """The settings of one width of an entry that follows the schema.

    Args:
        entry: as written.
        defaults: of the model and the manifest. What method and format do not take is passed over.
    """
    method = get_method(entry["method"])
    name = entry.get("format")
    if name is None:
        wanted = defaults.get("format", AUTO_FORMAT)
        fits = wanted != AUTO_FORMAT and get_format(wanted).holds(method) and bits in get_format(wanted).bits
        name = wanted if fits else AUTO_FORMAT
    bare = Settings(method=method.name, bits=bits, format=name)
    values: dict[str, Any] = {"format": name}
    for setting in method.settings:
        if setting.name in entry:
            values[setting.name] = entry[setting.name]
        elif takes(bare, setting) and setting.name in defaults:
            values[setting.name] = defaults[setting.name]
    return settings_of(method.name, bits, values)


def settings_faults(entry: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, str]]:
    """What the format of a cell cannot be asked for: the entry's key, and what is wrong with it.

    The model may want another format than the method's own; that is checked where it is known.
    """
    method, chosen = get_method(settings.method), named_format(settings)
    others = [f"`{other.name}`" for other in formats_for(method) if other is not chosen]
    way_out = f" Another format may do: {', '.join(others)}." if others else ""
    if settings.bits not in chosen.bits:
        fitting = [width for width in method.bits if width in chosen.bits]
        yield (
            "bits",
            f"{show(settings.bits)} is not allowed for {method.name} ({chosen.bits_note}). {allowed(fitting)}"
            f"{way_out}",
        )
    for name, (value, reason) in chosen.fixed.items():
        setting = SETTINGS[name]
        if name in entry and settings[setting] != value:
            only = "" if plain_value(value) in ([], None) else f"; it is always {show(plain_value(value))}"
            yield name, f"not a setting of the format {chosen.name} ({reason}{only}).{way_out}"
    for override in settings[OVERRIDES] if OVERRIDES.name not in chosen.fixed else ():
        if override.bits is not None and override.bits not in chosen.bits:
            yield OVERRIDES.name, f"{show(override.bits)} bits: {chosen.bits_note}. {allowed(chosen.bits)}"
