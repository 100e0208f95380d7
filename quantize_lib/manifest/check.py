"""The manifest against its schema, with messages of our own.

jsonschema finds what is wrong; its words are written for programs, so each kind of error is put into a
sentence here. The schema's `errorMessage` gives the reason where the keyword alone does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from quantize_lib.manifest.problems import Path
from quantize_lib.manifest.schema import manifest_schema
from quantize_lib.methods import METHODS
from quantize_lib.wording import allowed, meant, show

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

Finding = tuple[Path, str, bool]
"""A path, what is wrong there, and whether it is the key that is wrong."""

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_OTHER_NAMES = {word: method.name for method in METHODS.values() for word in method.also_called}
# Of several errors at one place the first is reported; the others follow from it.
_ORDER = ("type", "not", "enum", "pattern")


def check(data: Any) -> list[Finding]:
    """Everything in which plain data is not what the manifest's schema asks for."""
    errors = sorted(_validator().iter_errors(data), key=_rank)
    findings: dict[tuple[Path, str], Finding] = {}
    for error in errors:
        for path, message, at_key in _tell(error):
            # A key that is not allowed there has one problem, a mapping can lack several keys.
            kind = message if error.validator in ("required", "anyOf") else ""
            findings.setdefault((path, kind), (path, message, at_key))
    return list(findings.values())


def _rank(error: ValidationError) -> int:
    return _ORDER.index(error.validator) if error.validator in _ORDER else len(_ORDER)


@cache
def _validator() -> Validator:
    # jsonschema takes 0.1 s to import; what shows help does not wait for it.
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(_: Any, words: str, value: Any, __: Any) -> Iterator[ValidationError]:
        # In JSON Schema `$` is the very end; in Python's `re` it also stands before a last line feed.
        if isinstance(value, str) and not re.search(words.replace("$", r"\Z"), value):
            yield ValidationError("pattern")

    def unique(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
        # jsonschema's own compares each with each.
        if wanted and isinstance(value, list) and _repeated(value):
            yield ValidationError("unique")

    # typeshed has no types for `extend`.
    kind = extend(Draft202012Validator, {"pattern": pattern, "uniqueItems": unique})  # type: ignore[no-untyped-call]
    validator: Validator = kind(manifest_schema())
    return validator


def _repeated(values: list[Any]) -> list[int]:
    """The indices of values that are equal to an earlier one."""
    words = [json.dumps(value) for value in values]
    first = {word: index for index, word in reversed(list(enumerate(words)))}
    return [index for index, word in enumerate(words) if first[word] != index]


def _tell(error: ValidationError) -> Iterator[Finding]:
    path: Path = tuple(error.absolute_path)
    value: Any = error.instance
    words: Any = error.validator_value
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    reason = schema.get("errorMessage")
    match error.validator:
        case "additionalProperties":
            for key in value.keys() - schema["properties"].keys():
                yield (*path, key), _unknown(key, value, schema["properties"]), True
        case "required":
            for key in words:
                if key not in value:
                    yield path, f"{reason}." if reason else f"the key `{key}` is missing.", False
        case "uniqueItems":
            for index in _repeated(value):
                yield (*path, index), f"{show(value[index])} stands twice; write it once.", False
        case "not":
            yield path, f"{reason}.", True
        case keyword:
            yield path, _sentence(str(keyword), value, words, reason), False


def _sentence(keyword: str, value: Any, words: Any, reason: str | None) -> str:
    match keyword:
        case "type":
            return _type(value, words)
        case "enum":
            if isinstance(value, str) and value in (str(word) for word in words if not isinstance(word, str)):
                return f"got the text {show(value)}; write {value} without quotes."
            near = meant(value, words, _OTHER_NAMES)
            return f"{show(value)} is {reason or 'not allowed here'}. {allowed(words)}{near}"
        case "anyOf" | "minProperties":
            return f"{reason}."
        case "minLength":
            return "empty."
        case "minItems":
            return "an empty list; give at least one."
        case "maxLength":
            return f"longer than {words} characters."
        case "minimum" if reason is None:
            return f"{show(value)} is less than {words}, the smallest that is allowed."
        case "maximum" if reason is None:
            return f"{show(value)} is more than {words}, the largest that is allowed."
        case _:
            return f"{show(value)} is {reason or 'not what the schema asks for'}."


def _type(value: Any, words: str | list[str]) -> str:
    types = [words] if isinstance(words, str) else words
    wanted = " or ".join(_TYPES[name] for name in types)
    got = f"the text {show(value)}" if isinstance(value, str) else show(value)
    advice = ""
    if types == ["boolean"]:
        advice = meant(value, ("true", "false"))
    elif types == ["string"] and isinstance(value, int | float):
        advice = " Write it in quotes."
    return f"expected {wanted}, got {got}.{advice}"


def _unknown(key: str, value: dict[str, Any], known: dict[str, Any]) -> str:
    if key == "<<":
        return "merge keys are not YAML 1.2; use `defaults`, or repeat the settings."
    return f"unknown key. {allowed(known)}{meant(key, [name for name in known if name not in value])}"
