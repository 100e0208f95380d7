"""The schema is the one truth: types, docs and conditionals say the same."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.devices import DeviceName
from quantize_lib.formats import FORMATS, formats_for
from quantize_lib.manifest import load_manifest
from quantize_lib.manifest.check import check
from quantize_lib.manifest.schema import defaults_of, definition, manifest_schema
from quantize_lib.methods import METHODS, SETTINGS, Method, Setting, Settings
from quantize_lib.methods.common import FITTING_GROUP_SIZES
from quantize_lib.methods.settings import plain_value
from quantize_lib.plan.cells import RunnersSpec
from quantize_lib.schemas import load_schema
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.watch_rule import WatchRule
from quantize_lib.state_stores import DEFAULT_STORE, state_spec
from quantize_lib.state_stores import all_options as store_options
from quantize_lib.targets import DEFAULT_TARGET, PublishSpec, all_options
from tools.schemas import COMPLETED, stale

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))


def field_defaults(kind: Any) -> dict[str, Any]:
    """A dataclass's defaults, tuples as lists and paths as text, as a schema has them."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            value = field.default
            found[field.name] = list(value) if isinstance(value, tuple) else value
            if isinstance(value, Path):
                found[field.name] = str(value)
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text", TextSpec),
        ("runners", RunnersSpec),
        ("model", ModelSpec),
        ("watch", WatchRule),
    ],
)
def test_the_types_have_the_schemas_defaults(name: str, kind: Any) -> None:
    declared = defaults_of(name)
    assert declared
    assert {key: field_defaults(kind)[key] for key in declared} == declared


def test_publishing_has_the_schemas_defaults() -> None:
    declared = defaults_of("publish")
    assert declared.pop("to") == DEFAULT_TARGET
    for name, (option, _) in all_options().items():
        assert declared.pop(name, None) == (
            None if option.default is None else option.to_plan(option.default)
        )
    common = field_defaults(PublishSpec)
    assert {key: common[key] for key in declared} == declared


def test_state_has_the_schemas_defaults() -> None:
    declared = defaults_of("state")
    assert declared.pop("in") == DEFAULT_STORE == state_spec().store
    for name, (option, _) in store_options().items():
        assert declared.pop(name, None) == (
            None if option.default is None else option.to_plan(option.default)
        )
    assert not declared


def test_settings_have_the_schemas_defaults() -> None:
    settings = Settings(method="gptq", bits=4)
    for setting in SETTINGS.values():
        assert definition(setting.name).get("default") == plain_value(settings[setting])


def test_the_types_have_the_schemas_words() -> None:
    assert definition("method")["enum"] == list(METHODS)
    assert definition("format")["enum"] == ["auto", *FORMATS]
    assert definition("device")["enum"] == list(get_args(DeviceName))
    assert set(FITTING_GROUP_SIZES) < set(definition("group_size")["enum"])


def test_defaults_hold_the_optional_keys_of_an_entry_and_calibration() -> None:
    entry = definition("entry")
    widths = {method.width_key for method in METHODS.values()}
    optional = set(entry["properties"]) - set(entry["required"]) - {"name"} - widths
    assert set(definition("defaults")["properties"]) == {*optional, "calibration"}
    own = {"format", "device", *SETTINGS} - widths
    assert set(definition("model_defaults")["properties"]) == optional == own


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_conditions_agree_with_what_a_method_takes(method: Method, setting: Setting[Any]) -> None:
    words = definition(setting.name)
    value = words["default"] if "default" in words else words["examples"][0]
    for width, bits in widths_of(method).items():
        for written in (width, [width]):
            entry = {"method": method.name, setting.name: value, method.width_key: written}
            faults = check({"version": 1, "models": [{"id": "a/b", "quantize": [entry]}]})
            assert (not faults) == method.takes(setting, bits), (width, faults)


def widths_of(method: Method) -> dict[int | str, Any]:
    """What an entry may ask for, with the bits that it means."""
    if method.width is not None:
        return dict(method.width_bits.items())
    return {bits: bits for bits in definition(f"{method.name}_bits")["enum"]}


def test_a_method_that_has_types_in_place_of_bits_takes_no_bits_and_wants_a_type() -> None:
    for entry in ({"method": "gguf", "bits": 4}, {"method": "gguf"}, {"method": "gguf", "type": "Q3_K_S"}):
        assert check({"version": 1, "models": [{"id": "a/b", "quantize": [entry]}]}), entry


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["auto", *FORMATS])
def test_the_conditions_agree_with_what_a_format_stores(method: Method, name: str) -> None:
    entry = {"method": method.name, method.width_key: method.width_of(method.bits[-1]), "format": name}
    faults = check({"version": 1, "models": [{"id": "a/b", "quantize": [entry]}]})
    assert (not faults) == (name in ("auto", *(entry.name for entry in formats_for(method))))


@pytest.mark.parametrize("name", COMPLETED)
def test_the_schemas_are_valid(name: str) -> None:
    Draft202012Validator.check_schema(COMPLETED[name]())


def test_the_files_are_what_the_entries_say() -> None:
    assert stale() == [], "run python tools/schemas.py"


def test_an_unknown_schema_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.schema\.json is not in"):
        load_schema("none")


def test_the_wheel_carries_the_schemas() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["sources"]["schemas"] == "quantize_lib/schemas"


def properties(schema: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that some mapping of the schema declares, conditions aside."""
    for name, part in (schema.get("$defs") or {}).items():
        yield from properties(part, f"{place}/$defs/{name}")
    for key, words in schema.get("properties", {}).items():
        yield f"{place}/{key}", words
        yield from properties(words, f"{place}/{key}")


@pytest.mark.parametrize(
    ("place", "words"), list(properties(manifest_schema())), ids=lambda value: str(value)[:60]
)
def test_every_key_has_a_title_and_a_description(place: str, words: dict[str, Any]) -> None:
    target = definition(words["$ref"].removeprefix("#/$defs/")) if "$ref" in words else {}
    assert {"title", "description"} <= {*words, *target}, place


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert load_manifest(path).jobs


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize(
    "words",
    [manifest_schema(), *manifest_schema()["$defs"].values()],
    ids=lambda words: str(words.get("title")),
)
def test_the_schemas_own_examples_and_defaults_are_valid(words: dict[str, Any]) -> None:
    whole = manifest_schema()
    for name, part in {"": words, **words.get("properties", {})}.items():
        for value in [*part.get("examples", ()), *([part["default"]] if "default" in part else [])]:
            schema = {"$defs": whole["$defs"], **part}
            assert list(Draft202012Validator(schema).iter_errors(value)) == [], name
