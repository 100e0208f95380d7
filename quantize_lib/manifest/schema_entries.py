"""What methods and formats add to the manifest's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quantize_lib.formats import FORMATS, formats_for, get_format
from quantize_lib.methods import AUTO_FORMAT, METHODS, SETTINGS, Method, Setting, takers
from quantize_lib.methods.common import (
    AUTO_BITS,
    OVERRIDE_GROUP_SIZES,
    OVERRIDES,
    TARGET_BITS,
    TARGET_SIZE,
)
from quantize_lib.methods.entry import BITS
from quantize_lib.methods.settings import plain_value
from quantize_lib.wording import joined

_FIXED = ("method", "bits", "format", "name", "device")
"""Keys of an entry that are no method's settings."""


def complete_entries(schema: dict[str, Any]) -> None:
    """Write every method, format and setting into the schema."""
    definitions = schema["$defs"]
    for name in [
        name for name, words in definitions.items() if "x-methods" in words or name.endswith("_bits")
    ]:
        if name != "device":
            del definitions[name]
    definitions["method"] = _method_words()
    definitions["format"] = _format_words()
    definitions |= {
        f"{method.name}_bits": _bits_words(method) for method in METHODS.values() if method.width is None
    }
    definitions |= {setting.name: _setting_words(setting) for setting in SETTINGS.values()}
    definitions["device"]["x-methods"] = list(METHODS)
    _complete_override(definitions["override"])
    _complete_entry(definitions["entry"])
    widths = {method.width_key for method in METHODS.values()}
    names = ("format", "device", *(name for name in SETTINGS if name not in widths))
    optional = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    definitions["model_defaults"]["properties"] = optional
    calibration = definitions["defaults"]["properties"]["calibration"]
    learning = joined(method.name for method in METHODS.values() if method.calibrated)
    calibration["description"] = (
        f"Text from which {learning} learn what the layers' inputs look like. Where no source is named, the "
        "data set below is used."
    )
    definitions["defaults"]["properties"] = {**optional, "calibration": calibration}
    slugs = joined((method.slug for method in METHODS.values()), "or")
    definitions["publish"]["properties"]["name"]["description"] = (
        f"Template with `{{model}}`, `{{method}}` ({slugs}), `{{bits}}` and `{{name}}` (the cell's id). An "
        "entry with its own `name` is published under its cell id, unless the template has `{name}`. Types "
        "of GGUF files share a repository: for them `-{bits}bit` drops out, and `{name}` is an entry's own."
    )


def _method_words() -> dict[str, Any]:
    return {
        "title": "Method",
        "description": f"How weights are rounded: {joined((m.summary for m in METHODS.values()), 'or')}.",
        "enum": list(METHODS),
    }


def _format_words() -> dict[str, Any]:
    stored = joined((entry.summary for entry in FORMATS.values()), "or")
    return {
        "title": "Format",
        "description": f"How rounded weights are stored: {stored}. `{AUTO_FORMAT}` is the method's own, or "
        "another where that cannot hold the model; log, report and card say which.",
        "enum": [AUTO_FORMAT, *FORMATS],
        "default": AUTO_FORMAT,
        "x-methods": list(METHODS),
        "errorMessage": "not a format",
    }


def _bits_words(method: Method) -> dict[str, Any]:
    words: dict[str, Any] = {
        "description": f"Widths of {method.name}.",
        "enum": [*method.bits, *([AUTO_BITS] if TARGET_BITS in method.settings else [])],
        "errorMessage": f"not allowed for {method.name} ({method.bits_note})",
    }
    if method.experimental:
        words["description"] += f" {_experimental(method)}: few kernels load them, and quality drops."
    return words


def _experimental(method: Method) -> str:
    """`2 and 3 bits are experimental, in compressed-tensors only 2`."""
    words = [f"{joined(map(str, method.experimental))} bits are experimental"]
    for name in method.formats:
        if (few := get_format(name).experimental(method)) != method.experimental:
            words.append(f"in {name} {f'only {joined(map(str, few))}' if few else 'none'}")
    return ", ".join(words)


def _setting_words(setting: Setting[Any]) -> dict[str, Any]:
    words = {**setting.words, "x-methods": [method.name for method in takers(setting)]}
    if setting.default is not None:
        words["default"] = plain_value(setting.default)
    return words if setting.bits is None else {**words, "x-bits": list(setting.bits)}


def _complete_override(override: dict[str, Any]) -> None:
    widths = sorted({width for method in takers(OVERRIDES) for width in method.bits})
    properties = override["properties"]
    properties["bits"] = {
        "title": "Bits",
        "description": "Other bits for these layers.",
        "enum": widths,
        "errorMessage": "not a width that a layer can have",
    }
    properties["group_size"] |= OVERRIDE_GROUP_SIZES


def _complete_entry(entry: dict[str, Any]) -> None:
    properties = entry["properties"]
    fixed = {
        "method": {"$ref": "#/$defs/method"},
        "bits": {**properties["bits"], "description": _bits_description()},
        "format": {"$ref": "#/$defs/format"},
        "name": properties["name"],
        "device": {"$ref": "#/$defs/device"},
    }
    assert tuple(fixed) == _FIXED
    entry["required"] = ["method"]
    entry["properties"] = {**fixed, **{name: _property(name) for name in SETTINGS}}
    entry["allOf"] = [rule for method in METHODS.values() for rule in _rules(method)]


def _property(name: str) -> dict[str, Any]:
    """A setting's value, or several of one that cells are told apart by."""
    one = {"$ref": f"#/$defs/{name}"}
    if not any(method.width_key == name for method in METHODS.values()):
        return one
    several = {"type": "array", "minItems": 1, "uniqueItems": True, "items": one}
    told = {word: SETTINGS[name].words[word] for word in ("title", "description")}
    told["x-methods"] = [method.name for method in takers(SETTINGS[name])]
    return {**told, "if": {"type": "array"}, "then": several, "else": one}


def _bits_description() -> str:
    others = [
        f"{method.name} has `{method.width_key}` in its place" for method in METHODS.values() if method.width
    ]
    return (
        f"Bits of a weight, or a list of them. `{AUTO_BITS}`: each layer gets its own, by "
        f"`{TARGET_BITS.name}` or `{TARGET_SIZE.name}`. {'; '.join([_widths(), *others])}."
    )


def _widths() -> str:
    """`gptq: 2, 3, 4, 8 (2 and 3 bits are experimental, …); …`."""
    texts = []
    for method in (method for method in METHODS.values() if method.width is None):
        own = get_format(method.formats[0])
        notes = [_experimental(method)] if method.experimental else []
        if not set(method.bits) <= set(own.bits):
            notes.append(
                f"{joined(str(width) for width in method.bits if width in own.bits)} in its own format"
            )
        auto = f", {AUTO_BITS}" if TARGET_BITS in method.settings else ""
        text = f"{method.name}: {', '.join(map(str, method.bits))}{auto}"
        texts.append(f"{text} ({'; '.join(notes)})" if notes else text)
    return "; ".join(texts)


def _rules(method: Method) -> list[dict[str, Any]]:
    """What an entry of a method may and may not have."""
    bits = {"$ref": f"#/$defs/{method.name}_bits"}
    fitting = [entry.name for entry in formats_for(method)]
    then: dict[str, Any] = {
        BITS: {"if": {"type": "array"}, "then": {"items": bits}, "else": bits}
        if method.width is None
        else _refusal(f"{method.name} ({method.bits_note})"),
        "format": {
            "enum": [AUTO_FORMAT, *fitting],
            "errorMessage": f"not a format of {method.name}",
        },
    }
    then |= {
        setting.name: _refusal(f"{method.name} ({_whose(setting, method.not_taken.get(setting.name))})")
        for setting in SETTINGS.values()
        if setting not in method.settings
    }
    rules = [_rule({"method": {"const": method.name}}, then, required=[method.width_key])]
    by_widths: dict[tuple[int, ...], list[Setting[Any]]] = {}
    for setting in method.settings:
        excluded = tuple(width for width in method.bits if not method.takes(setting, width))
        if excluded:
            by_widths.setdefault(excluded, []).append(setting)
    for widths, settings in by_widths.items():
        named = {"anyOf": [{"enum": list(widths)}, {"type": "array", "items": {"enum": list(widths)}}]}
        what = f"{method.name} with {joined(map(str, widths))} bits"
        rules.append(
            _rule(
                {"method": {"const": method.name}, "bits": named},
                {setting.name: _refusal(f"{what} ({_whose_bits(setting)})") for setting in settings},
            )
        )
    return rules


def _rule(when: Mapping[str, Any], then: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    wanted: dict[str, Any] = {"required": list(required)} if required else {}
    return {
        "if": {"properties": dict(when), "required": list(when)},
        "then": {**wanted, "properties": dict(then)},
    }


def _refusal(of: str) -> dict[str, Any]:
    return {"not": {}, "errorMessage": f"not a setting of {of}"}


def _whose(setting: Setting[Any], reason: str | None) -> str:
    """Why a method does not take a setting, and which does."""
    whose = setting.whose
    if whose is None:
        whose = f"it belongs to {joined(method.name for method in takers(setting))}"
        whose += f" with {joined(map(str, setting.bits))} bits" if setting.bits else ""
    return whose if reason is None else f"{reason}; {whose}"


def _whose_bits(setting: Setting[Any]) -> str:
    belongs = f"it belongs to {joined(map(str, setting.bits or ()))} bits"
    return belongs if setting.bits_note is None else f"{setting.bits_note}; {belongs}"
