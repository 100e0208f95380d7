"""The settings of an entry: its own, then those of `defaults` that its method and format take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.formats import formats_for, get_format, named_format, takes
from quantize_lib.manifest.widths import widths_of
from quantize_lib.methods import AUTO_FORMAT, SETTINGS, Settings, get_method, settings_of
from quantize_lib.methods.common import (
    AUTO_BITS,
    NOMINAL_BITS,
    OVERRIDES,
    TARGET_BITS,
    TARGET_SIZE,
    TARGETS,
    is_automatic,
)
from quantize_lib.methods.settings import plain_value
from quantize_lib.wording import allowed, show


def entry_settings(entry: Mapping[str, Any], defaults: Mapping[str, Any], width: int | str) -> Settings:
    """The settings of one width of an entry that follows the schema.

    Args:
        entry: as written.
        defaults: of the model and the manifest. What method and format do not take is passed over.
        width: one of `widths_of` the entry.
    """
    method = get_method(entry["method"])
    bits = method.width_bits.get(width, NOMINAL_BITS) if isinstance(width, str) else width
    name = entry.get("format")
    if name is None:
        wanted = defaults.get("format", AUTO_FORMAT)
        fits = wanted != AUTO_FORMAT and get_format(wanted).holds(method) and bits in get_format(wanted).bits
        name = wanted if fits else AUTO_FORMAT
    bare = Settings(method=method.name, bits=bits, format=name)
    values: dict[str, Any] = {"format": name}
    # Of one target in the entry itself, the other in `defaults` is no part.
    targets = {setting.name for setting in TARGETS if setting.name in entry}
    for setting in method.settings:
        if setting is method.width:
            values[setting.name] = width
            continue
        if setting in TARGETS and (width != AUTO_BITS or not targets <= {setting.name}):
            continue
        if setting.name in entry:
            values[setting.name] = entry[setting.name]
        elif takes(bare, setting) and setting.name in defaults:
            values[setting.name] = defaults[setting.name]
    return settings_of(method.name, bits, values)


def settings_faults(
    entry: Mapping[str, Any], settings: Settings, width: int | str
) -> Iterator[tuple[str, str]]:
    """What the format of a cell cannot be asked for: the entry's key, and what is wrong with it.

    The model may want another format than the method's own; that is checked where it is known.

    Args:
        width: of `widths_of` the entry, the one that the settings are of.
    """
    method, chosen = get_method(settings.method), named_format(settings)
    yield from _target_faults(entry, settings, width, method.width_key)
    others = [f"`{other.name}`" for other in formats_for(method) if other.name != chosen.name]
    way_out = f" Another format may do: {', '.join(others)}." if others else ""
    if width == AUTO_BITS and settings.format != AUTO_FORMAT and not chosen.mixed:
        yield "bits", f"`{AUTO_BITS}` is not for the format {chosen.name}: its layers are all alike.{way_out}"
    elif settings.bits not in chosen.bits:
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


def _target_faults(
    entry: Mapping[str, Any], settings: Settings, width: int | str, key: str
) -> Iterator[tuple[str, str]]:
    names = f"`{TARGET_BITS.name}` or `{TARGET_SIZE.name}`"
    if width != AUTO_BITS:
        for setting in TARGETS:
            if setting.name in entry and AUTO_BITS not in widths_of(entry):
                yield setting.name, f"a setting of `{key}: {AUTO_BITS}` alone."
    elif all(setting.name in entry for setting in TARGETS):
        yield TARGET_SIZE.name, f"give {names}, not both."
    elif not is_automatic(settings):
        yield key, f"`{AUTO_BITS}` needs to know how much there may be; give {names}."
