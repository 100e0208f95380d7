"""The keys of what is read (the manifest) and of what is written (plan, report), from their JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from tools.docs.markdown import code, table

Words = Mapping[str, Any]
"""A schema or a part of one."""

_SHOWN_AS = {"model_defaults": "defaults"}
"""Definitions with the keys of another one, which has the table."""

_TYPES = {
    "integer": "whole number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}


def of_manifest(schema: Words) -> dict[str, str]:
    """`manifest` for the top level, and `manifest.NAME` for each definition that has keys of its own."""
    tables = {"manifest": _input_table(schema, schema, with_methods=False)}
    for name, words in schema["$defs"].items():
        if "properties" in words and name not in _SHOWN_AS:
            tables[f"manifest.{name}"] = _input_table(words, schema, with_methods=name == "entry")
    return tables


def of_output(kind: str, schema: Words) -> dict[str, str]:
    """KIND for the top level, and `KIND.NAME` for each definition; keys of inner mappings are dotted."""
    owners = {kind: schema, **{f"{kind}.{name}": words for name, words in schema["$defs"].items()}}
    return {name: table(("Key", "Value", "Meaning"), _rows(words, schema)) for name, words in owners.items()}


def described(schema: Words) -> Iterator[tuple[str, Words]]:
    """Every key of a schema with its words, a reference filled in."""
    for owner in (schema, *schema["$defs"].values()):
        yield from _keys(owner, schema)


def _input_table(owner: Words, schema: Words, *, with_methods: bool) -> str:
    methods = ["Methods"] if with_methods else []
    rows = []
    for key, raw in owner["properties"].items():
        words = _resolve(raw, schema)
        taken = [_methods(words)] if with_methods else []
        default = _default(key, words, owner)
        rows.append([code(key), _value(words, schema, limits=True), default, *taken, words["description"]])
    return table(["Key", "Value", "Default", *methods, "Meaning"], rows)


def _default(key: str, words: Words, owner: Words) -> str:
    of_some = (rule.get("then", {}).get("required", ()) for rule in owner.get("allOf", ()))
    if key in (*owner.get("required", ()), *chain(*of_some)):
        return "required"
    if "default" not in words:
        return ""
    value = words["default"]
    if isinstance(value, dict):
        return "see below"
    return code(value if isinstance(value, str) else json.dumps(value))


def _methods(words: Words) -> str:
    methods = ", ".join(words.get("x-methods", ["all"]))
    bits = words.get("x-bits")
    return f"{methods} {', '.join(map(str, bits))} bits" if bits else methods


def _rows(owner: Words, schema: Words) -> Iterator[list[str]]:
    for key, words in _keys(owner, schema):
        yield [code(key), _value(words, schema, limits=False), words["description"]]


def _keys(owner: Words, schema: Words, before: str = "") -> Iterator[tuple[str, Words]]:
    """Keys and, dotted, those of mappings in them; one whose keys have no words of their own is one key."""
    for key, raw in owner.get("properties", {}).items():
        words = _resolve(raw, schema)
        yield f"{before}{key}", words
        if "x-definition" not in words:
            for inner in (words, *words.get("oneOf", ()), *words.get("anyOf", ())):
                if all("description" in one for one in inner.get("properties", {}).values()):
                    yield from _keys(inner, schema, f"{before}{key}.")


def _resolve(words: Words, schema: Words) -> Words:
    """A part with what it refers to filled in; its own words take precedence over those of the definition."""
    if "$ref" not in words:
        return words
    name = words["$ref"].removeprefix("#/$defs/")
    own = {key: value for key, value in words.items() if key != "$ref"}
    return {**_resolve(schema["$defs"][name], schema), **own, "x-definition": name}


def _value(words: Words, schema: Words, *, limits: bool) -> str:
    """What may stand at a key, in a few words."""
    words = _resolve(words, schema)
    name = words.get("x-definition", "")
    if name and "properties" in schema["$defs"][name]:
        shown = _SHOWN_AS.get(name, name)
        return f"[{shown}](#{shown})"
    for choice in ("oneOf", "anyOf"):
        if choice in words:
            ordered = sorted(words[choice], key=lambda one: one.get("type") == "null")
            return " or ".join(_value(one, schema, limits=limits) for one in ordered)
    if "if" in words and "else" in words:
        return f"{_value(words['else'], schema, limits=limits)}, or a list of them"
    if "const" in words:
        return code(json.dumps(words["const"]))
    if "enum" in words:
        return ", ".join(
            code(value if isinstance(value, str) else json.dumps(value)) for value in words["enum"]
        )
    types = words["type"] if isinstance(words["type"], list) else [words["type"]]
    if types == ["array"]:
        return f"list of {_value(words['items'], schema, limits=limits)}"
    text = " or ".join(_TYPES.get(str(kind), str(kind)) for kind in types)
    if limits and types == ["integer"] and "minimum" in words:
        return f"{text}, {words['minimum']} " + (f"to {words['maximum']}" if "maximum" in words else "up")
    return text
