"""Write the key tables of docs/reference/manifest.md from the manifest's schema.

python tools/schema_docs.py            # rewrite the page
python tools/schema_docs.py --check    # exit 1 where the page is not what the schema says
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from quantize_lib.manifest.schema import manifest_schema

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "manifest.md"

_PART = re.compile(r"(<!-- schema:(\w+) -->\n).*?(<!-- /schema -->)", re.DOTALL)
_TYPES: dict[str, str] = {
    "integer": "whole number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
}
_LINKED = {
    "defaults",
    "model",
    "watch",
    "entry",
    "text",
    "evaluate",
    "publish",
    "runners",
    "combination",
    "override",
}


def resolve(words: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A subschema with what it refers to filled in; its own words go before those of the definition."""
    if "$ref" not in words:
        return words
    target = words["$ref"].removeprefix("#/$defs/")
    own = {key: value for key, value in words.items() if key != "$ref"}
    return {**resolve(schema["$defs"][target], schema), **own, "x-definition": target}


def value_of(words: dict[str, Any], schema: dict[str, Any]) -> str:
    """What may stand at a key, in a few words."""
    if words.get("x-definition") in _LINKED:
        return f"[{words['x-definition']}](#{words['x-definition']})"
    if "enum" in words:
        return ", ".join(
            f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in words["enum"]
        )
    types = words["type"] if isinstance(words["type"], list) else [words["type"]]
    if types == ["array"]:
        return f"list of {value_of(resolve(words['items'], schema), schema)}"
    if types == ["object"]:
        return "mapping"
    text = " or ".join(_TYPES.get(str(name), str(name)) for name in types)
    if types == ["integer"] and "minimum" in words:
        text += (
            f", {words['minimum']} to {words['maximum']}"
            if "maximum" in words
            else f", {words['minimum']} up"
        )
    return text


def table(part: str, schema: dict[str, Any]) -> str:
    """The keys of the top level (`manifest`) or of a definition, as a Markdown table."""
    owner = schema if part == "manifest" else schema["$defs"][part]
    with_methods = part == "entry"
    head = ["Key", "Value", "Default", *(["Methods"] if with_methods else []), "Meaning"]
    rows = [head, ["---"] * len(head)]
    for key, raw in owner["properties"].items():
        words = resolve(raw, schema)
        if key in owner.get("required", ()):
            default = "required"
        elif "default" in words:
            value = words["default"]
            short = value if isinstance(value, str) else json.dumps(value)
            default = f"`{short}`" if not isinstance(value, dict) else "see below"
        else:
            default = ""
        methods = ", ".join(words.get("x-methods", ["all"]))
        if bits := words.get("x-bits"):
            methods += f" {', '.join(map(str, bits))} bits"
        cells = [f"`{key}`", value_of(words, schema), default, *([methods] if with_methods else [])]
        rows.append([*cells, words["description"]])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def fill(page: str, schema: dict[str, Any]) -> str:
    """The page with every table as the schema says it."""
    return _PART.sub(lambda found: f"{found[1]}{table(found[2], schema)}{found[3]}", page)


def main(arguments: list[str]) -> int:
    """Rewrite or check the page; the exit code."""
    schema = manifest_schema()
    page = PAGE.read_text(encoding="utf-8")
    filled = fill(page, schema)
    if "--check" in arguments:
        if filled != page:
            print("docs/reference/manifest.md is not what the schema says: run python tools/schema_docs.py")
        return int(filled != page)
    PAGE.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
