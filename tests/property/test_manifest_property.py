"""Whatever text comes in, the answer is a manifest or a told problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_lib.formats import formats_for, named_format
from quantize_lib.manifest import InvalidManifestError, Problem, parse_manifest
from quantize_lib.manifest.schema import definition
from quantize_lib.manifest.widths import widths_of
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import GROUP_SIZE
from quantize_lib.plan import plan_github, plan_json

NOWHERE = Path("/nowhere/quantize.yml")
PIECES = (
    [
        "version: 1\n",
        "models:\n",
        "  - ",
        "id: ",
        "a/b",
        "quantize: ",
        "method: gptq",
        "bits: 4",
        "publish: ",
    ],
    [
        "name: '{model}'",
        "defaults: ",
        "\n",
        "{",
        "}",
        "[",
        "]",
        ": ",
        ", ",
        "- ",
        "? ",
        "| \n",
        "> ",
        "#",
        "\t",
    ],
    ["&a ", "*a", "<<: ", "!!int ", "!x ", "'", '"', '"\\ud800"', '"\\UFFFFFFFF"', "---\n", "...\n"],
    ["%YAML 1.2\n", "%TAG ! x\n", "4", "1e999", ".nan", "~", "yes", "\ufeff", "\x85", "\u2028", "é"],
)
SYNTAX = st.sampled_from([piece for line in PIECES for piece in line])


def answer(text: str | bytes) -> None:
    """Parse; an error must be one of ours, with printable lines that all name the file."""
    problems: tuple[Problem, ...] = ()
    try:
        parse_manifest(text, path=NOWHERE)
    except InvalidManifestError as error:
        problems = error.problems
    for problem in problems:
        assert str(problem).startswith("/nowhere/quantize.yml:")
        assert str(problem).isprintable()


@settings(deadline=None)
@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    answer(text)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_answered(data: bytes) -> None:
    answer(data)


@settings(max_examples=500, deadline=None)
@given(st.lists(SYNTAX, max_size=40))
def test_any_mixture_of_yaml_is_answered(pieces: list[str]) -> None:
    answer("".join(pieces))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TOP = ["version", "defaults", "models", "include", "exclude", "evaluate", "publish", "runners"]
INNER = ("model", "entry", "text", "publish")
KEYS = [*TOP, *(key for name in INNER for key in definition(name)["properties"])]
SHAPED = st.recursive(
    PLAIN | st.sampled_from(["gptq", "awq", "bitsandbytes", "fp8", 4, 8, "a/b", "./x", "{model}", "15%"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(TOP), SHAPED))
def test_any_data_is_answered(data: dict[str, Any]) -> None:
    answer(json.dumps({"version": 1, **data}, ensure_ascii=False).encode("utf-8", "replace"))


NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,12}", fullmatch=True)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    method = draw(st.sampled_from(definition("method")["enum"]))
    chosen = draw(st.sampled_from(["auto", *(entry.name for entry in formats_for(get_method(method)))]))
    stored = named_format(Settings(method=method, bits=4, format=chosen)).bits
    rounding = get_method(method)
    if rounding.width is None:
        widths = [width for width in definition(f"{method}_bits")["enum"] if width in stored]
    else:
        widths = [name for name, bits in rounding.width_bits.items() if bits in stored]
    asked = draw(st.sampled_from(widths) | st.lists(st.sampled_from(widths), min_size=1, unique=True))
    entry = {"method": method, rounding.width_key: asked}
    if chosen != "auto":
        entry["format"] = chosen
    if GROUP_SIZE in get_method(method).settings and draw(st.booleans()):
        entry["group_size"] = draw(st.sampled_from(definition("group_size")["enum"]))
    if draw(st.booleans()):
        entry["device"] = draw(st.sampled_from(["auto", "cpu", "cuda"]))
    return entry


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAME, min_size=1, max_size=4, unique_by=str.casefold))
    models = []
    for name in names:
        several = st.lists(entries(), min_size=1, max_size=3, unique_by=lambda entry: str(entry["method"]))
        chosen = draw(several)
        models.append({"id": f"acme/{name}", "quantize": chosen})
    # PyYAML writes YAML 1.1, to which `0E0` is text: no digits.
    letters = st.characters(codec="utf-8", categories=("L", "P", "Zs"))
    texts = st.lists(st.text(letters, min_size=1), min_size=1)
    given_texts = st.fixed_dictionaries({"texts": texts, "seed": st.integers(0, 2**32 - 1)})
    calibration = draw(st.just({}) | given_texts)
    return {"version": 1, "defaults": {"calibration": calibration}, "models": models}


@settings(max_examples=50, deadline=None)
@given(manifests(), st.booleans())
def test_a_valid_manifest_means_the_same_however_it_is_written(data: dict[str, Any], flow: bool) -> None:
    written = yaml.safe_dump(data, allow_unicode=flow, default_flow_style=flow, sort_keys=flow)
    manifest = parse_manifest(written, path=NOWHERE)
    assert manifest == parse_manifest(json.dumps(data, ensure_ascii=False), path=NOWHERE)
    assert list(dict.fromkeys(job.model.id for job in manifest.jobs)) == [
        model["id"] for model in data["models"]
    ]
    texts = data["defaults"]["calibration"].get("texts", ())
    assert all(job.calibration.texts == tuple(texts) for job in manifest.jobs)


@settings(max_examples=50, deadline=None)
@given(manifests())
def test_ids_are_unique_and_no_cell_is_lost(data: dict[str, Any]) -> None:
    plan = parse_manifest(json.dumps(data, ensure_ascii=False), path=NOWHERE)
    ids = [cell.id for _, cell in plan.cells()]
    widths = [widths_of(entry) for model in data["models"] for entry in model["quantize"]]
    assert len(set(map(str.casefold, ids))) == len(ids) == sum(map(len, widths))
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)
    matrix = plan_github(plan)["include"]
    assert sorted(" ".join(entry["cells"] for entry in matrix).split()) == sorted(ids)
    assert [cell["id"] for job in plan_json(plan, {})["jobs"] for cell in job["cells"]] == ids
