"""A cell's settings as plain data: only those that its method takes."""

from __future__ import annotations

from typing import Any

from quantize_lib.formats import takes
from quantize_lib.methods import AUTO_FORMAT, Settings, get_method
from quantize_lib.methods.settings import plain_value


def effective_settings(settings: Settings) -> dict[str, Any]:
    """Method, bits and the settings that have a part in what is made, ready for JSON.

    The format is among them where one was named.
    """
    values: dict[str, Any] = {"method": settings.method, "bits": settings.bits}
    if settings.format != AUTO_FORMAT:
        values["format"] = settings.format
    for setting in get_method(settings.method).settings:
        if takes(settings, setting) and settings[setting] is not None:
            values[setting.name] = plain_value(settings[setting])
    return values


def hashed_settings(settings: Settings) -> dict[str, Any]:
    """The settings as a fingerprint has them.

    Those that were there when cells were first published are always among them (`Method.always_hashed`); of
    all others, those that are not the default. So a new setting never rebuilds what is published.
    """
    method = get_method(settings.method)
    values: dict[str, Any] = {"method": settings.method, "bits": settings.bits}
    if settings.format not in (AUTO_FORMAT, method.formats[0]):
        values["format"] = settings.format
    for setting in method.settings:
        value = settings[setting]
        if takes(settings, setting) and (setting.name in method.always_hashed or value != setting.default):
            values[setting.name] = plain_value(value)
    return values
