"""How wide an entry's weights are: `bits`, or what its method has in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import AUTO_BITS, TARGETS, target_word


def widths_of(entry: Mapping[str, Any]) -> list[int | str]:
    """What an entry that follows the schema asks for, a cell each: bits, `AUTO_BITS`, or names of types."""
    written = entry[get_method(entry["method"]).width_key]
    return list(written) if isinstance(written, list) else [written]


def has_several_widths(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has a list of them, if only of one."""
    return isinstance(entry[get_method(entry["method"]).width_key], list)


def told_apart_by(entry: Mapping[str, Any], width: int | str) -> tuple[object, ...]:
    """What tells a cell of an entry from the others of its model, where no `name` does."""
    targets = [entry.get(setting.name) for setting in TARGETS] if width == AUTO_BITS else []
    return entry["method"], width, *targets


def width_word(settings: Settings) -> str:
    """The end of a cell's id: `4bit`, `auto-3.5bit`, `auto-1.2GB`, `Q4_K_M`."""
    if (word := target_word(settings)) is not None:
        return word
    width = get_method(settings.method).width
    return f"{settings.bits}bit" if width is None else settings[width]
