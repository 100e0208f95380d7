"""A card's metadata as the Hub reads and checks it (docs hub/model-cards, client hf_api: _validate_yaml)."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_REPOSITORY = re.compile(r"(?:[\w.-]+/)?[\w.-]+")
_TAG = re.compile(r"[^\s,]+(?: [^\s,]+)*")
_LICENSES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-4.0",
        "epl-2.0",
        "eupl-1.1",
        "agpl-3.0",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "gemma",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "ofl-1.1",
        "open-mdw",
        "unlicense",
        "wtfpl",
        "zlib",
        "unknown",
        "other",
    ]
)
"""Of the list in the Hub's docs (hub/repositories-licenses)."""


def front_matter(readme: bytes) -> tuple[dict[str, Any], list[str]]:
    """A card's metadata, and what the Hub would say against it."""
    try:
        text = readme.decode()
    except UnicodeDecodeError:
        return {}, ["README.md is not valid UTF-8"]
    found = _FRONT.match(text)
    if not found:
        return {}, []
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return {}, [f"bad indentation or syntax in YAML metadata: {error}"]
    if data is None:
        return {}, []
    if not isinstance(data, dict):
        return {}, ["YAML metadata must be an object"]
    return data, _problems(data)


def _problems(data: dict[str, Any]) -> list[str]:
    found = []
    for license_id in _listed(data.get("license")):
        if license_id not in _LICENSES:
            found.append(f'"license" must be one of the known licenses, not {license_id!r}')
    if data.get("license") == "other" and "license_name" in data:
        name = data["license_name"]
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-.]+", name):
            found.append(
                f'"license_name" with value {name!r} fails to match the required pattern: /^[a-z0-9-.]+$/'
            )
    for base in _listed(data.get("base_model")):
        if not isinstance(base, str) or not _REPOSITORY.fullmatch(base):
            found.append(
                f'"base_model" with value {base!r} is not valid. Use a model id from https://hf.co/models.'
            )
    tags = data.get("tags")
    if tags is not None and not (
        isinstance(tags, list) and all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags)
    ):
        found.append('"tags" must be an array of strings')
    for key in ("library_name", "pipeline_tag", "base_model_relation"):
        if key in data and not isinstance(data[key], str):
            found.append(f'"{key}" must be a string')
    if "model-index" in data and not isinstance(data["model-index"], list):
        found.append('"model-index" must be an array')
    return found


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
