"""What the manifest's schema says of methods and their settings.

Three annotations of ours are read here: `x-methods` and `x-bits` (which methods take a setting) and
`x-calibrated` (which methods learn from calibration text).
"""

from __future__ import annotations

from functools import cache

from quantize_lib.schemas import definition, definition_or_empty


@cache
def setting_names() -> tuple[str, ...]:
    """The settings that `defaults` may hold and an entry may override, in the schema's order."""
    return tuple(key for key in definition("entry")["properties"] if "x-methods" in definition_or_empty(key))


def takes(setting: str, method: str, bits: int) -> bool:
    """Whether a method with these bits takes a setting such as `group_size`."""
    words = definition(setting)
    return method in words["x-methods"] and bits in words.get("x-bits", (bits,))


def is_calibrated(method: str) -> bool:
    """Whether calibration text has a part in what the method makes."""
    return method in definition("method")["x-calibrated"]


def experimental_bits(method: str) -> tuple[int, ...]:
    """Bit widths of a method that are allowed but experimental."""
    return tuple(definition(f"{method}_bits").get("x-experimental", ()))
