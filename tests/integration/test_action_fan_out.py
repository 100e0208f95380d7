"""The reusable workflow from plan to report: its expressions evaluated, its steps executed, job by job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.action_runner import ROOT, Evaluator, Runner, read_outputs, ready_environment
from tests.support.model_files import LLAMA, write_model

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "quantize.yml").read_text(encoding="utf-8"))
CALL = WORKFLOW[True]["workflow_call"]
# Models that fail at once: what is tried here is the way of cells and reports, not the quantizing.
MODELS = ("one", "two")


def step(job: str, name: str) -> dict[str, Any]:
    return next(words for words in WORKFLOW["jobs"][job]["steps"] if words["name"] == name)


def fill(words: dict[str, Any], contexts: dict[str, Any]) -> dict[str, str]:
    """The `with` or `env` of a step as the runner fills it in."""
    defaults = {name: str(given.get("default", "")).lower() for name, given in CALL["inputs"].items()}
    given = {
        "inputs": {**defaults, "executor": "local"},
        "secrets": {},
        "job": {"status": "success"},
        **contexts,
    }
    with Evaluator() as evaluate:
        return evaluate(given, {name: str(text) for name, text in words.items()}, "always()")[0]


def prepare(folder: Path, profile: str) -> Runner:
    """A fresh runner with the caller's repository checked out."""
    runner = Runner(folder, "push")
    ready_environment(runner, profile)
    for name in MODELS:
        write_model(runner.workspace / name, {**LLAMA, "is_encoder_decoder": True})
    quantize = [{"method": "gptq", "bits": [4, 8]}, {"method": "awq", "bits": 4}]
    words = {"version": 1, "models": [{"id": f"./{name}", "quantize": quantize} for name in MODELS]}
    (runner.workspace / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    return runner


def hand_over(file: Path, folder: Path) -> None:
    """An artifact of one file, kept by one job and fetched by another."""
    folder.mkdir(parents=True)
    shutil.copy(file, folder)


@pytest.fixture(scope="module")
def fan_out(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("fan-out")
    planned = prepare(folder / "plan", "core").use(ROOT, fill(step("plan", "Plan")["with"], {}))
    assert planned.succeeded, planned.log
    needs = {"plan": {"outputs": {"matrix": planned.outputs["matrix"], "id": "0a1b"}}}
    matrix = json.loads(planned.outputs["matrix"])
    temp = folder / "last" / "temp"
    steps = {"plan": {"outputs": planned.outputs}, "id": {"outputs": {"id": "0a1b"}}}
    plan = fill(step("plan", "Keep the plan")["with"], {"steps": steps})
    fetched = fill(step("report", "Fetch the plan")["with"], {"needs": needs, "runner": {"temp": str(temp)}})
    assert fetched["name"] == plan["name"]
    hand_over(Path(plan["path"]), Path(fetched["path"]))
    jobs = {}
    for entry in matrix["include"]:
        contexts = {"matrix": entry, "needs": needs, "runner": {"temp": str(temp)}}
        runner = prepare(folder / entry["job"], "cpu")
        given = fill(step("quantize", "Quantize, check and publish")["with"], contexts)
        jobs[entry["job"]] = result = runner.use(ROOT, given)
        kept = fill(
            step("quantize", "Keep the report")["with"],
            {**contexts, "steps": {"quantize": {"outputs": result.outputs}}},
        )
        hand_over(Path(kept["path"]), temp / "reports" / kept["name"])
    program = temp / "model-quantizer" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step("report", "Gather them into one")["run"]],
        cwd=ROOT,
        env={**os.environ, "RUNNER_TEMP": str(temp), "GITHUB_OUTPUT": str(folder / "output")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    outputs = read_outputs((folder / "output").read_text(encoding="utf-8"))
    return {"matrix": matrix, "jobs": jobs, "code": done.returncode, "outputs": outputs, "log": done.stdout}


def test_each_model_is_a_job_of_its_own(fan_out: dict[str, Any]) -> None:
    assert [entry["job"] for entry in fan_out["matrix"]["include"]] == ["one-auto", "two-auto"]
    assert all(entry["runs-on"] == ["ubuntu-latest"] for entry in fan_out["matrix"]["include"])


def test_a_job_works_on_its_own_cells_only(fan_out: dict[str, Any]) -> None:
    failed = {name: result.outputs["failed"].split() for name, result in fan_out["jobs"].items()}
    assert failed == {
        f"{name}-auto": [f"{name}-gptq-4bit", f"{name}-gptq-8bit", f"{name}-awq-4bit"] for name in MODELS
    }


def test_the_last_job_knows_every_cell_and_ends_as_the_worst(fan_out: dict[str, Any]) -> None:
    assert fan_out["code"] == 3
    assert json.loads(fan_out["outputs"]["counts"])["failed"] == 6
    assert "left no report" not in fan_out["log"]
