"""A cell's settings as plain data: only those that its method takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from quantize_lib.methods.schema_words import setting_names, takes
from quantize_lib.methods.settings import Settings


def effective_settings(settings: Settings) -> dict[str, Any]:
    """Method, bits and the settings that have a part in what is made, ready for JSON."""
    values: dict[str, Any] = {"method": settings.method, "bits": settings.bits}
    for name in setting_names():
        if name != "device" and takes(name, settings.method, settings.bits):
            values[name] = getattr(settings, name)
    if "modules_to_not_convert" in values:
        values["modules_to_not_convert"] = list(values["modules_to_not_convert"])
    if "overrides" in values:
        values["overrides"] = [
            {key: value for key, value in asdict(override).items() if value is not None}
            for override in values["overrides"]
        ]
    return values
