"""Entries with types in place of bits: cells, ids and repositories, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.effective_settings import hashed_settings
from quantize_lib.errors import UsageError
from quantize_lib.gguf_file.types import FILE_TYPES
from quantize_lib.manifest import parse_manifest
from quantize_lib.manifest.single_model import single_model_plan
from quantize_lib.plan.cells import Cell
from tests.support.records import RECORD

START = "version: 1\nmodels:\n  - id: acme/m\n    quantize:\n"


def cells(entries: str, more: str = "") -> list[Cell]:
    lines = "".join(f"      - {entry}\n" for entry in entries.splitlines())
    plan = parse_manifest(START + lines + more, path=Path("quantize.yml"))
    return [cell for _, cell in plan.cells()]


def test_each_type_of_a_list_is_a_cell_with_the_bits_that_it_means() -> None:
    found = cells(f"{{method: gguf, type: [{', '.join(FILE_TYPES)}]}}")
    assert [cell.id for cell in found] == [f"m-gguf-{name}" for name in FILE_TYPES]
    assert [cell.settings.bits for cell in found] == [8, 6, 5, 4, 4]
    assert [(cell.repository, cell.part) for cell in found] == [("m-gguf", name) for name in FILE_TYPES]


def test_types_stand_where_names_have_bits_and_share_the_repository_of_that_name() -> None:
    named = "{method: gguf, type: [Q8_0, Q4_0], name: mine}\n{method: gguf, type: Q6_K, name: one}"
    assert [cell.id for cell in cells(named)] == ["mine-Q8_0", "mine-Q4_0", "one"]
    assert [cell.repository for cell in cells(named)] == ["mine", "mine", "one"]


def test_automatic_types_are_parts_of_the_same_repository_and_called_by_what_was_asked_for() -> None:
    found = cells(
        "{method: gguf, type: [Q8_0, auto], target_size: 1.2 GB}\n"
        "{method: gguf, type: auto, target_bits: 4.5}\n{method: gguf, type: auto, target_bits: 5, name: mine}"
    )
    ids = ["m-gguf-Q8_0", "m-gguf-auto-1.2GB", "m-gguf-auto-4.5bit", "mine"]
    parts = ["Q8_0", "auto-1.2GB", "auto-4.5bit", "auto-5bit"]
    assert [cell.id for cell in found] == ids
    assert [cell.part for cell in found] == parts
    assert [cell.repository for cell in found] == ["m-gguf"] * 3 + ["mine"]


def test_a_target_does_not_change_what_the_other_types_of_a_list_are() -> None:
    (alone,), (beside, automatic) = (
        cells("{method: gguf, type: Q8_0}"),
        cells("{method: gguf, type: [Q8_0, auto], target_bits: 5}"),
    )
    assert beside.settings == alone.settings
    assert hashed_settings(automatic.settings) == {
        "method": "gguf", "bits": 4, "type": "auto", "target_bits": 5, "modules_to_not_convert": [],
    }  # fmt: skip


@pytest.mark.parametrize(("template", "repository"), [
    ("{model}-{method}-{bits}bit", "m-gguf"),
    ("{bits}bit-{model}", "m"),
    ("{model}_{bits}bit_{method}", "m_gguf"),
    ("{model}-{bits}-{method}", "m-Q8_0-gguf"),
    ("{name}", "m-gguf-Q8_0"),
    ("{bits}bit", "Q8_0"),
])  # fmt: skip
def test_bits_drop_out_of_a_template_unless_they_are_asked_for_alone(template: str, repository: str) -> None:
    publish = f'publish: {{to: hub, namespace: acme, name: "{template}"}}\n'
    assert [cell.repository for cell in cells("{method: gguf, type: Q8_0}", publish)] == [
        f"acme/{repository}"
    ]


@pytest.mark.parametrize(("entries", "more", "message"), [
    (
        "{method: gguf, type: Q8_0}\n{method: gguf, type: Q8_0, modules_to_not_convert: [a], name: other}",
        "publish: {name: '{model}'}\n",
        None,
    ),
    (
        "{method: gptq, bits: 4}\n{method: gguf, type: Q8_0}",
        "publish: {name: '{model}'}\n",
        "the repository `m` of `m-gguf-Q8_0` is that of `m-gptq-4bit`",
    ),
    (
        "{method: gguf, type: [Q8_0, Q4_0, Q6_K]}",
        "publish: {to: hub, namespace: acme, pull_request: true}\n",
        "the repository `acme/m-gguf` of `m-gguf-Q4_0` is to hold others, too, and of pull requests",
    ),
    (
        "{method: gguf, type: [Q8_0, Q4_0]}",
        "publish: {to: hub, namespace: acme, pull_request: true, name: '{name}'}\n",
        None,
    ),
])  # fmt: skip
def test_a_repository_holds_types_of_one_model_and_nothing_beside_them(
    entries: str, more: str, message: str | None
) -> None:
    if message is None:
        assert cells(entries, more)
        return
    with pytest.raises(UsageError) as caught:
        cells(entries, more)
    assert message in str(caught.value)
    assert str(caught.value).count("the repository") == 1


def test_models_of_other_names_do_not_share_a_repository() -> None:
    entry = "quantize: [{method: gguf, type: %s}]"
    text = (
        f"version: 1\nmodels:\n  - id: acme/m\n    {entry % 'Q8_0'}\n  - id: acme/n\n    {entry % 'Q4_0'}\n"
    )
    with pytest.raises(UsageError, match="the repository `all` of `n-gguf-Q4_0` is that of `m-gguf-Q8_0`"):
        parse_manifest(f"{text}publish: {{name: all}}\n", path=Path("quantize.yml"))


@pytest.mark.parametrize(("entry", "message"), [
    ("{method: gguf, bits: 4}", "`type` in place of bits"),
    ("{method: gguf, bits: auto, target_bits: 5}", "`type` in place of bits, `type: auto` among them"),
    ("{method: gguf, type: auto}", "`auto` needs to know how much there may be; give `target_bits` or"),
    ("{method: gguf, type: auto, target_bits: 5, target_size: 1 GB}", "not both"),
    ("{method: gguf, type: Q8_0, target_size: 1 GB}", "a setting of `type: auto` alone"),
    (
        "{method: gguf, type: auto, target_bits: 5}\n{method: gguf, type: [auto], target_bits: 5.0}",
        "the cell id `m-gguf-auto-5bit` is that of",
    ),
    ("{method: gguf}", "the key `type` is missing"),
    ("{method: gguf, type: Q4_K_S}", "`Q4_K_S` is not a type of GGUF files that is made here. Allowed: Q8_0"),
    ("{method: gguf, type: [Q8_0, Q8_0]}", "stands twice"),
    ("{method: gguf, type: Q8_0, group_size: 64}", "the type says how many weights share a scale"),
    ("{method: gptq, bits: 4, type: Q4_0}", "it stands in place of bits for gguf"),
    ("{method: gptq, bits: 4, format: gguf}", "is not a format of gptq"),
])  # fmt: skip
def test_mistakes_are_told_with_what_is_allowed(entry: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        cells(entry)
    assert message in str(caught.value)


@pytest.mark.parametrize(("bits", "name"), [(8, "Q8_0"), (6, "Q6_K"), (5, "Q5_K_M"), (4, "Q4_K_M")])
def test_the_form_for_one_model_takes_the_usual_type_of_so_many_bits(bits: int, name: str) -> None:
    plan = single_model_plan("acme/m", method="gguf", bits=bits)
    assert [cell.id for _, cell in plan.cells()] == [f"m-gguf-{name}"]


def test_the_form_for_one_model_refuses_bits_that_no_type_has() -> None:
    with pytest.raises(UsageError, match=r"--bits: 3 is not allowed for gguf .* Allowed: 4, 5, 6, 8\."):
        single_model_plan("acme/m", method="gguf", bits=3)


def test_a_record_calls_its_width_by_the_type() -> None:
    from dataclasses import replace

    record = replace(RECORD, method="gguf", bits=4, settings={"type": "Q4_K_M"})
    assert record.width == "Q4_K_M"
    assert replace(record, settings={"type": "auto", "target_size": "1 GB"}).width == "at most 1 GB"
    assert replace(record, settings={}).width == "4 bits"
