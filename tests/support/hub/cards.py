"""A card's metadata as the Hub reads and checks it (docs hub/model-cards, client hf_api: _validate_yaml)."""

from __future__ import annotations

import re
from typing import Any

import yaml

from quantize_lib.source.card_lists import LANGUAGES, LICENSES

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_REPOSITORY = re.compile(r"(?:[\w.-]+/)?[\w.-]+")
_TAG = re.compile(r"[^\s,]+(?: [^\s,]+)*")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_LINK = re.compile(r"LICENSE(\.md)?|https?://\S+")


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
        if license_id not in LICENSES:
            found.append(f'"license" must be one of [{", ".join(LICENSES)}]')
    if "license_name" in data:
        name = data["license_name"]
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-.]+", name):
            found.append(
                f'"license_name" with value {name!r} fails to match the required pattern: /^[a-z0-9-.]+$/'
            )
    link = data.get("license_link")
    if link is not None and not (isinstance(link, str) and _LINK.fullmatch(link)):
        found.append('"license_link" must be one of [LICENSE, LICENSE.md] or a valid uri')
    for language in _listed(data.get("language")):
        if not isinstance(language, str):
            found.append('"language" must be a string')
        elif language != language.lower():
            found.append('"language" must only contain lowercase characters')
        elif not _LANGUAGE.fullmatch(language) or (len(language) == 2 and language not in LANGUAGES):
            found.append(
                f'"language" with value "{language}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 '
                'code (two/three letters), or a special value like "code", "multilingual".'
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
