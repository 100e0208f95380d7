"""Rules that find models: what a manifest may say, what they let through, and what becomes of the finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.cli import main
from quantize_lib.errors import UsageError
from quantize_lib.manifest import InvalidManifestError, expand, parse_manifest
from quantize_lib.plan.cells import Plan
from quantize_lib.source.watch import is_plain, is_wanted
from quantize_lib.source.watch_rule import WatchRule

RULE = {"organization": "acme", "quantize": [{"method": "bitsandbytes", "bits": [4, 8]}]}


def parse(folder: Path, *rules: dict[str, Any], **more: Any) -> Plan:
    """A manifest with these rules."""
    words = {"version": 1, "watch": list(rules), **more}
    return parse_manifest(json.dumps(words), path=folder / "quantize.yml")


def test_a_manifest_of_rules_alone_is_valid_and_says_what_was_not_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a connection: this is a unit test."""
    path = tmp_path / "quantize.yml"
    path.write_text(json.dumps({"version": 1, "watch": [RULE]}), encoding="utf-8")
    assert main(["validate", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.endswith("is valid: 0 cells in 0 jobs; what 1 rule of `watch` would add was not looked up\n")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"quantize": RULE["quantize"]},
            "watch[0]: needs `quantize`, and one of `organization` and `collection`.",
        ),
        ({**RULE, "collection": "acme/best-1"}, "watch[0].collection: not together with `organization`"),
        ({"organization": "acme"}, "watch[0]: needs `quantize`, and one of `organization` and `collection`."),
        ({**RULE, "organization": "../etc"}, "watch[0].organization: `../etc` is not an organization"),
        ({**RULE, "limit": 0}, "watch[0].limit: 0 is less than 1"),
        ({**RULE, "trust_remote_code": True}, "watch[0].trust_remote_code: unknown key"),
        (
            {**RULE, "quantize": [{"method": "awq", "bits": 4, "name": "x"}]},
            "watch[0].quantize[0].name: not in a rule",
        ),
        ({**RULE, "quantize": [{"method": "awq", "bits": 5}]}, "watch[0].quantize[0].bits: 5 is not allowed"),
        (
            {**RULE, "quantize": [*RULE["quantize"], {"method": "bitsandbytes", "bits": 4}]},
            "watch[0].quantize[1]: method and width of an earlier entry",
        ),
        ({**RULE, "calibration": {"files": ["gone.txt"]}}, "watch[0].calibration.files[0]: no file matches"),
        (
            {**RULE, "evaluate": {"max_kl_divergence": 1}},
            "watch[0].evaluate.max_kl_divergence: nothing to measure",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_told_with_its_place(
    tmp_path: Path, rule: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidManifestError) as caught:
        parse(tmp_path, rule)
    (problem,) = caught.value.problems
    assert message in problem.message


def test_neither_models_nor_rules_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match="`models` is missing, and there is no `watch`"):
        parse_manifest('{"version": 1}', path=tmp_path / "quantize.yml")


def test_found_models_become_cells_as_written_ones_would(tmp_path: Path) -> None:
    rule = {**RULE, "defaults": {"device": "cpu"}, "calibration": {"texts": ["A text."], "samples": 3}}
    manifest = parse(tmp_path, rule, publish={"namespace": "out"})
    plan = expand(manifest, [(0, "acme/one"), (0, "acme/two")])
    assert [(job.id, job.model.id, job.calibration.samples) for job in plan.jobs] == [
        ("one-cpu", "acme/one", 3),
        ("two-cpu", "acme/two", 3),
    ]
    assert [cell.repository for _, cell in plan.cells()] == [
        f"out/{name}-bnb-{bits}bit" for name in ("one", "two") for bits in (4, 8)
    ]


def test_cells_of_a_rule_may_differ_in_their_target_alone(tmp_path: Path) -> None:
    entries = [{"method": "gguf", "type": "auto", "target_bits": bits} for bits in (4, 5)]
    plan = expand(parse(tmp_path, {**RULE, "quantize": entries}), [(0, "acme/one")])
    assert [cell.id for _, cell in plan.cells()] == ["one-gguf-auto-4bit", "one-gguf-auto-5bit"]


def test_a_found_model_is_the_hubs_though_a_folder_of_that_name_lies_here(tmp_path: Path) -> None:
    (tmp_path / "acme" / "one").mkdir(parents=True)
    plan = expand(parse(tmp_path, RULE), [(0, "acme/one")])
    assert plan.jobs[0].model.local is None


@pytest.mark.parametrize(
    ("found", "more", "message"),
    [
        (
            [(0, "acme/one"), (0, "other/ONE")],
            {},
            "other/ONE, which watch[0] finds: the model's name `ONE` is that of acme/one, which watch[0]",
        ),
        (
            [(0, "acme/one")],
            {"models": [{"id": "my/one", "quantize": RULE["quantize"]}]},
            "acme/one, which watch[0] finds: the model's name `one` is that of models[0] too",
        ),
        (
            [(0, "acme/one"), (0, "acme/two")],
            {"publish": {"name": "all-{bits}bit"}},
            "acme/two, which watch[0] finds: the repository `all-4bit` of `two-bnb-4bit` is that of",
        ),
    ],
)
def test_names_that_meet_are_an_error_that_names_both_and_the_way_out(
    tmp_path: Path, found: list[tuple[int, str]], more: dict[str, Any], message: str
) -> None:
    manifest = parse(tmp_path, RULE, **more)
    with pytest.raises(UsageError) as caught:
        expand(manifest, found)
    assert caught.value.message.startswith(message)
    assert "`exclude`" in (caught.value.hint or "")


def test_patterns_may_be_meant_for_models_that_are_not_there_yet(tmp_path: Path) -> None:
    manifest = parse(tmp_path, RULE, exclude=[{"model": "two", "bits": 8}])
    plan = expand(manifest, [(0, "acme/two")])
    assert [cell.id for _, cell in plan.cells()] == ["two-bnb-4bit"]


@pytest.mark.parametrize(
    ("identity", "wanted"),
    [
        ("acme/Small-Instruct", True),
        ("acme/Small-base", False),
        ("acme/Small-old-Instruct", False),
        ("other/Big", True),
        ("acme/Big", False),
        ("Small-Instruct", False),
        ("acme/../Small-Instruct", False),
        ("acme/Small-Instruct\n::error::", False),
        ("acme/-Small-Instruct", False),
        ("acme/" + "S" * 95 + "-Instruct", False),
    ],
)
def test_a_rule_takes_what_its_patterns_say_and_no_odd_name(identity: str, wanted: bool) -> None:
    rule = WatchRule(organization="acme", models=("*-Instruct", "other/*"), exclude=("*-old-*",))
    assert is_wanted(identity, rule) is wanted


@pytest.mark.parametrize(
    ("tags", "plain"),
    [
        ({"safetensors", "llama"}, True),
        ({"safetensors", "base_model:finetune:acme/one"}, True),
        ({"safetensors", "base_model:quantized:acme/one"}, False),
        ({"safetensors", "model-quantizer"}, False),
        ({"gguf"}, False),
        ({"llama"}, False),
    ],
)
def test_what_is_quantized_already_is_left_out(tags: set[str], plain: bool) -> None:
    assert is_plain(tags) is plain
