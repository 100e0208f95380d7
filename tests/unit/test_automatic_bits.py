"""Cells whose layers get bits of their own: what is asked for, what there is to choose, and what is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.card.layers import layers_table
from quantize_lib.errors import UsageError
from quantize_lib.manifest import load_manifest
from quantize_lib.methods import Override, Settings
from quantize_lib.plan.automatic_bits import choice_of
from quantize_lib.plan.fingerprint import fingerprint
from quantize_lib.report.document import record_from_json, record_to_json
from quantize_lib.text import format_bytes, parse_bytes
from tests.support.down_projections import facts
from tests.support.records import RECORD

WEIGHTS = 1536 * 576


def settings(**own: Any) -> Settings:
    return Settings(method="gptq", bits=4, format="compressed-tensors", own=own)


def plan(folder: Path, entry: str) -> Any:
    path = folder / "quantize.yml"
    path.write_text(
        f"version: 1\nmodels:\n  - id: acme/tiny\n    quantize:\n      - {entry}\n", encoding="utf-8"
    )
    return load_manifest(path)


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ("{method: gptq, bits: auto, target_bits: 3.5}", ["tiny-gptq-auto-3.5bit"]),
        ("{method: gptq, bits: auto, target_size: 1.2 GB}", ["tiny-gptq-auto-1.2GB"]),
        ("{method: awq, bits: [4, auto], target_bits: 4}", ["tiny-awq-4bit", "tiny-awq-auto-4bit"]),
        ("{method: gptq, bits: [8, auto], target_bits: 3, name: x}", ["x-8bit", "x-auto-3bit"]),
    ],
)
def test_a_cells_id_and_repository_say_what_was_asked_for(tmp_path: Path, entry: str, ids: list[str]) -> None:
    cells = [cell for _, cell in plan(tmp_path, entry).cells()]
    assert [cell.id for cell in cells] == ids
    assert [cell.repository for cell in cells] == ids


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{method: gptq, bits: auto}", "`auto` needs to know how much there may be; give `target_bits` or"),
        ("{method: gptq, bits: auto, target_bits: 3, target_size: 1 GB}", "not both"),
        ("{method: gptq, bits: 4, target_bits: 3}", "a setting of `bits: auto` alone"),
        ("{method: gptq, bits: auto, target_size: 1.2 GiB}", "not a size, as in 1.2 GB or 850 MB"),
        ("{method: bitsandbytes, bits: auto}", "not allowed for bitsandbytes"),
        ("{method: awq, bits: auto, target_bits: 3, format: awq}", "not for the format awq"),
    ],
)
def test_what_cannot_be_asked_for_is_told_where_it_stands(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        plan(tmp_path, entry)
    assert "quantize.yml:5:" in str(told.value)


def test_defaults_give_the_target_that_an_entry_does_not_give(tmp_path: Path) -> None:
    path = tmp_path / "quantize.yml"
    path.write_text(
        "version: 1\ndefaults: {target_bits: 3}\nmodels:\n  - id: acme/tiny\n    quantize:\n"
        "      - {method: gptq, bits: [4, auto]}\n"
        "      - {method: awq, bits: auto, target_size: 1 GB}\n",
        encoding="utf-8",
    )
    ids = [cell.id for _, cell in load_manifest(path).cells()]
    assert ids == ["tiny-gptq-4bit", "tiny-gptq-auto-3bit", "tiny-awq-auto-1GB"]


def test_a_target_makes_another_fingerprint(tmp_path: Path) -> None:
    loaded = plan(tmp_path, "{method: gptq, bits: [4, auto], target_bits: 4, format: compressed-tensors}")
    found = {
        fingerprint(cell, job, model_revision="a" * 40, calibration_revision="b" * 40)
        for job, cell in loaded.cells()
    }
    assert len(found) == 2


def test_mean_bits_are_of_codes_and_scales_alone() -> None:
    choice = choice_of(facts(2), settings(target_bits=4.25))
    four = choice.sizes["model.layers.0.mlp.down_proj"][4, 64]
    # 4 bits and a scale of 16 for 64 weights; what stands in the header does not count.
    assert 0 <= 2 * four - choice.room <= 2 * 3 * 16


def test_a_size_is_that_of_all_weights() -> None:
    whole = choice_of(facts(2), settings(target_size="1 MB"))
    assert whole.kept == pytest.approx(2 * 100 * 576, abs=1000)
    assert whole.room == 1_000_000 - whole.kept
    assert whole.checkpoint_bytes == 1_000_000


def test_more_than_the_most_that_layers_can_have_is_not_counted() -> None:
    choice = choice_of(facts(2), settings(target_size="1 GB"))
    eight = choice.sizes["model.layers.0.mlp.down_proj"][8, 32]
    assert choice.checkpoint_bytes == choice.kept + 2 * eight


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"target_bits": 2}, r"target_bits 2: .* it is 2\.13"),
        ({"target_size": "100 kB"}, "target_size 100 kB"),
    ],
)
def test_what_no_bits_can_meet_is_refused_with_what_is_possible(own: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choice_of(facts(2), settings(**own))


def test_an_override_and_a_group_size_leave_no_choice() -> None:
    asked = replace(
        settings(target_bits=6),
        group_size=64,
        overrides=(Override(modules="model.layers.1.*", bits=8, group_size=32),),
    )
    sizes = choice_of(facts(2), asked).sizes
    assert set(sizes["model.layers.0.mlp.down_proj"]) == {(2, 64), (3, 64), (4, 64), (8, 64)}
    assert set(sizes["model.layers.1.mlp.down_proj"]) == {(8, 32)}


@pytest.mark.parametrize("text", ["1.2 GB", "850 MB", "850MB", "12 kB", "1 TB"])
def test_a_size_reads_as_it_is_written(text: str) -> None:
    assert format_bytes(parse_bytes(text)).replace(".0 ", " ") == text.replace("MB", " MB").replace("  ", " ")


def test_layers_are_counted_by_name_and_bits() -> None:
    layers = {
        "model.layers.0.self_attn.q_proj": (4, 64),
        "model.layers.0.mlp.down_proj": (3, 64),
        "model.layers.1.self_attn.q_proj": (4, 32),
        "model.layers.1.mlp.down_proj": (4, 64),
    }
    table = layers_table(replace(RECORD, layers=layers))
    assert table.widths == ("3 bits", "4 bits")
    assert table.rows == (
        ("model.layers.*.self_attn.q_proj", ("", "2")),
        ("model.layers.*.mlp.down_proj", ("1", "1")),
    )


def test_tensors_are_counted_by_name_and_type_with_the_smallest_type_first() -> None:
    types = {
        "model.embed_tokens.weight": "Q6_K",
        "model.layers.0.mlp.up_proj.weight": "Q5_0",
        "model.layers.1.mlp.up_proj.weight": "IQ4_NL",
    }
    table = layers_table(replace(RECORD, method="gguf", format="gguf", types=types))
    assert table.widths == ("IQ4_NL", "Q5_0", "Q6_K")
    assert table.rows == (
        ("model.embed_tokens.weight", ("", "", "1")),
        ("model.layers.*.mlp.up_proj.weight", ("1", "1", "")),
    )


def test_a_report_gives_each_tensors_type_back() -> None:
    record = replace(RECORD, types={"model.embed_tokens.weight": "Q6_K"})
    assert record_from_json(record_to_json(record)).types == record.types
    assert "types" not in record_to_json(RECORD)


def test_a_report_gives_each_layers_bits_back() -> None:
    record = replace(RECORD, layers={"model.layers.0.mlp.down_proj": (3, 64)})
    assert record_from_json(record_to_json(record)).layers == record.layers
    assert "layers" not in record_to_json(RECORD)
