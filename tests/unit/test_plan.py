"""Cells become jobs, and jobs a table, JSON and a matrix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan import narrow, plan_github, plan_json, plan_table
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.estimate import JobEstimate
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.text import format_bytes

TEXT = """
version: 1
models:
  - id: acme/a
    quantize:
      - {method: gptq, bits: [3, 4]}
      - {method: awq, bits: 4, device: cuda}
      - {method: bitsandbytes, bits: 8}
  - id: acme/b
    defaults: {device: cuda}
    calibration: {texts: [t]}
    quantize: [{method: gptq, bits: 4, group_size: -1}]
evaluate: {perplexity: {texts: [x, y]}, max_perplexity_increase: 15%}
publish: {namespace: acme}
runners: {cuda: [self-hosted, a100]}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Plan:
    return parse_manifest(TEXT, path=tmp_path / "quantize.yml")


def shape(plan: Plan) -> dict[str, list[str]]:
    return {job.id: [cell.id for cell in job.cells] for job in plan.jobs}


def estimates(plan: Plan) -> dict[str, JobEstimate]:
    return {
        job.id: JobEstimate(
            job=job.id,
            download_bytes=269_060_552,
            disk_bytes=1_000_000_000,
            peak_memory_bytes=950,
            activation_bytes=50,
            state_bytes=94_300_000,
            parameters=134_515_008,
            cells={cell.id: 94_200_000 for cell in job.cells},
            formats={cell.id: "gptq" for cell in job.cells},
            group_sizes={cell.id: 64 if "gptq" in cell.id else -1 for cell in job.cells},
        )
        for job in plan.jobs
    }


def test_cells_of_one_model_on_one_device_are_one_job(manifest: Plan) -> None:
    plan = manifest
    assert shape(plan) == {
        "a-auto": ["a-gptq-3bit", "a-gptq-4bit", "a-bnb-8bit"],
        "a-cuda": ["a-awq-4bit"],
        "b-cuda": ["b-gptq-4bit"],
    }
    assert [job.device for job in plan.jobs] == ["auto", "cuda", "cuda"]
    assert [cell.id for _, cell in plan.cells()] == [cell for cells in shape(plan).values() for cell in cells]


def test_cells_that_compete_on_several_devices_are_no_matrix(tmp_path: Path) -> None:
    plan = parse_manifest(TEXT.replace("15%", "15%, choose: smallest"), path=tmp_path / "quantize.yml")
    with pytest.raises(UsageError) as refused:
        plan_github(plan)
    assert refused.value.message == (
        "a: `choose: smallest` compares cells that would go to different runners, "
        "as they are for auto and cuda"
    )
    (first, _) = plan_github(narrow(plan, device="cuda"))["include"]
    assert first["cells"] == "a-gptq-3bit a-gptq-4bit a-awq-4bit a-bnb-8bit"


def test_the_table_says_which_cells_compete(tmp_path: Path) -> None:
    plan = parse_manifest(TEXT.replace("15%", "15%, choose: smallest"), path=tmp_path / "quantize.yml")
    compete = "Of a the smallest that meets its limits: a-gptq-3bit, a-gptq-4bit, a-awq-4bit or a-bnb-8bit."
    assert compete in plan_table(plan, {}).splitlines()
    assert plan_json(plan, {})["jobs"][0]["evaluate"]["choose"] == "smallest"


def test_a_choice_without_some_of_its_cells_is_worth_a_warning(tmp_path: Path) -> None:
    plan = parse_manifest(TEXT.replace("15%", "15%, choose: smallest"), path=tmp_path / "quantize.yml")
    assert len(narrow(plan).warnings) == len(plan.warnings)
    assert narrow(plan, only=["a-gptq-4bit", "a-awq-4bit"]).warnings == (
        "a-gptq-4bit: the smallest of a is chosen among the cells of --only, "
        "without a-gptq-3bit and a-bnb-8bit.",
    )


def test_the_command_lines_device_goes_first(manifest: Plan) -> None:
    assert shape(narrow(manifest, device="cpu")) == {
        "a-cpu": ["a-gptq-3bit", "a-gptq-4bit", "a-awq-4bit", "a-bnb-8bit"],
        "b-cpu": ["b-gptq-4bit"],
    }


def test_only_keeps_the_named_cells_and_their_warnings(manifest: Plan) -> None:
    plan = narrow(manifest, only=["b-gptq-4bit", "a-gptq-4bit"])
    assert shape(plan) == {"a-auto": ["a-gptq-4bit"], "b-cuda": ["b-gptq-4bit"]}
    assert plan.warnings == ()
    assert [text[:12] for text in narrow(manifest, only=["a-gptq-3bit"]).warnings] == ["a-gptq-3bit:"]


def test_an_unknown_cell_is_told_with_those_that_there_are(manifest: Plan) -> None:
    with pytest.raises(UsageError) as caught:
        narrow(manifest, only=["a-gptq-4bits", "zzz", "a-awq-4bit"])
    assert caught.value.message == (
        "--only: there is no cell `a-gptq-4bits`. Perhaps you meant `a-gptq-4bit`?\n"
        "--only: there is no cell `zzz`."
    )
    assert caught.value.hint == (
        "The cells are: a-gptq-3bit, a-gptq-4bit, a-awq-4bit, a-bnb-8bit, b-gptq-4bit."
    )
    assert caught.value.exit_code == ExitCode.USAGE


def test_the_json_is_as_its_schema_says_with_and_without_estimates(manifest: Plan) -> None:
    plan = manifest
    validator = Draft202012Validator(plan_schema())
    for known in ({}, estimates(plan)):
        data = json.loads(json.dumps(plan_json(plan, known)))
        assert [error.message for error in validator.iter_errors(data)] == []


def test_the_json_tells_everything_of_a_cell(manifest: Plan) -> None:
    plan = manifest
    data = plan_json(plan, estimates(plan))
    assert data["jobs"][0]["cells"][1] == {
        "id": "a-gptq-4bit",
        "method": "gptq",
        "bits": 4,
        "format": "gptq",
        "settings": {
            "group_size": "auto",
            "effort": "standard",
            "desc_act": False,
            "sym": True,
            "modules_to_not_convert": [],
            "overrides": [],
            "allow_partial": False,
        },
        "repository": "acme/a-gptq-4bit",
        "estimate": {"checkpoint_bytes": 94_200_000, "group_size": 64},
        "change": None,
    }
    assert data["jobs"][0]["cells"][2]["settings"] == {
        "modules_to_not_convert": [],
        "allow_partial": False,
    }
    assert data["jobs"][0]["cells"][2]["estimate"] == {"checkpoint_bytes": 94_200_000}
    assert data["jobs"][2]["calibration"] == {"texts": 1, "samples": 128, "sequence_length": 512, "seed": 0}
    assert data["jobs"][0]["evaluate"]["max_perplexity_increase"] == 0.15


def test_the_matrix_has_a_job_an_entry(manifest: Plan) -> None:
    matrix = plan_github(manifest)
    assert matrix["include"][:2] == [
        {
            "job": "a-auto",
            "model": "a",
            "device": "auto",
            "image": "cpu",
            "runs-on": ["ubuntu-latest"],
            "cells": "a-gptq-3bit a-gptq-4bit a-bnb-8bit",
        },
        {
            "job": "a-cuda",
            "model": "a",
            "device": "cuda",
            "image": "cuda",
            "runs-on": ["self-hosted", "a100"],
            "cells": "a-awq-4bit",
        },
    ]
    assert len(matrix["include"]) == 3


@pytest.mark.parametrize(("models", "entries"), [(255, 256), (256, 129), (600, 201)])
def test_more_than_256_jobs_are_grouped_and_none_is_lost(models: int, entries: int, tmp_path: Path) -> None:
    lines = ["version: 1", "models:"]
    lines += [f"  - {{id: acme/m{n}, quantize: [{{method: awq, bits: 4}}]}}" for n in range(models)]
    lines += ["  - {id: acme/g, quantize: [{method: awq, bits: 4, device: cuda}]}"]
    plan = parse_manifest("\n".join(lines), path=tmp_path / "quantize.yml")
    matrix = plan_github(plan)["include"]
    assert len(matrix) == entries
    assert " ".join(entry["cells"] for entry in matrix).split() == [cell.id for _, cell in plan.cells()]
    assert len({entry["job"] for entry in matrix}) == entries
    assert {entry["device"] for entry in matrix if entry["cells"] == "g-awq-4bit"} == {"cuda"}


def test_a_group_is_named_after_its_first_job(tmp_path: Path) -> None:
    lines = ["version: 1", "models:"]
    lines += [f"  - {{id: acme/m{n}, quantize: [{{method: awq, bits: 4}}]}}" for n in range(600)]
    plan = parse_manifest("\n".join(lines), path=tmp_path / "quantize.yml")
    first = plan_github(plan)["include"][0]
    assert (first["job"], first["model"]) == ("m0-auto-and-2-more", "m0 m1 m2")


def test_a_job_for_mps_has_no_runner(manifest: Plan) -> None:
    with pytest.raises(UsageError) as caught:
        plan_github(narrow(manifest, device="mps"))
    assert str(caught.value) == (
        "the job a-mps is for mps, and `runners` has labels for cpu and cuda only\n"
        "  Run it on the machine itself, or give `--device cpu`."
    )


def test_the_table_shows_cells_jobs_and_estimates(manifest: Plan, tmp_path: Path) -> None:
    plan = manifest
    assert plan_table(plan, estimates(plan)).replace(str(tmp_path), "HERE").splitlines() == [
        "Cell         Job     Format  Group size  Checkpoint  Repository",
        "a-gptq-3bit  a-auto  gptq            64     94.2 MB  acme/a-gptq-3bit",
        "a-gptq-4bit  a-auto  gptq            64     94.2 MB  acme/a-gptq-4bit",
        "a-bnb-8bit   a-auto  gptq             -     94.2 MB  acme/a-bnb-8bit",
        "a-awq-4bit   a-cuda  gptq           row     94.2 MB  acme/a-awq-4bit",
        "b-gptq-4bit  b-cuda  gptq            64     94.2 MB  acme/b-gptq-4bit",
        "",
        "Job     Device  Cells  Download    Disk  Peak memory",
        "a-auto  auto        3  269.1 MB  1.0 GB        950 B",
        "a-cuda  cuda        1  269.1 MB  1.0 GB        950 B",
        "b-cuda  cuda        1  269.1 MB  1.0 GB        950 B",
        "",
        "Published to HERE/published.",
        "Warning: a-gptq-3bit: 3 bits are experimental for gptq: few kernels load them, and quality drops.",
    ]


def test_the_table_says_where_nothing_is_known(manifest: Plan) -> None:
    lines = plan_table(manifest, {}).splitlines()
    assert lines[1] == "a-gptq-3bit  a-auto  auto          auto           ?  acme/a-gptq-3bit"
    assert lines[8] == "a-auto  auto        3         ?     ?            ?"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (14_200_000_000, "14.2 GB"), (2_500_000_000_000, "2.5 TB")],
)  # fmt: skip
def test_bytes_are_written_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
