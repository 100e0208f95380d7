"""A job that ends before all is published: the next attempt, on a fresh runner, goes on from the cache."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.action_inputs import DEFAULTS, PUSH
from tests.support.action_runner import ROOT, Runner, copy_cache, read_outputs, ready_environment
from tests.support.resuming import BLOCKS, deepen
from tests.support.small_runs import FASTEST, manifest, save_tiny_model
from tools.action.inputs import read_inputs

QUANTIZE = "Quantize and check"
# Enough work for a signal to come before the last block.
GPTQ = [{"method": "gptq", "bits": [2, 3, 4, 8]}]


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model of eight blocks that any user can read. Read only."""
    model = deepen(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", calibration_text))
    for path in model.iterdir():
        path.chmod(0o644)
    return model


def stopped_and_again(folder: Path, model: Path, text: Path, inputs: dict[str, str], job: str) -> None:
    """Stop the first attempt once a block is safe; the second one must go on after it."""
    profile = "core" if inputs["executor"] == "docker" else "cpu"
    first = Runner(folder / "first", "push")
    second = Runner(folder / "second", "push", environment={"GITHUB_RUN_ATTEMPT": "2"})
    for runner in (first, second):
        ready_environment(runner, profile)
        manifest(runner.workspace, model, text, GPTQ)
    safe = first.workspace / "output" / ".state" / "jobs" / job / "1" / "progress.json"
    stopped = first.use(ROOT, inputs, stop=(QUANTIZE, safe))
    assert stopped.step(QUANTIZE).code == 130
    (saved,) = first.caches.iterdir()

    copy_cache(saved, second.caches / saved.name)
    again = second.use(ROOT, inputs)
    assert again.succeeded, again.log
    found = re.search(rf"continuing after block (\d+) of {BLOCKS}", again.log)
    assert found is not None, again.log
    assert 0 < int(found[1]) < BLOCKS
    assert json.loads(again.outputs["counts"])["published"] == 4
    # Nothing is left to go on from: the second attempt's cache is small.
    kept = second.caches / (saved.name.removesuffix("-1") + "-2")
    assert [path.name for path in kept.iterdir()] == ["lock"]


def test_the_next_attempt_goes_on_after_the_last_finished_block(
    deep_model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    inputs = {"executor": "local", "device": "cpu"}
    stopped_and_again(tmp_path, deep_model, calibration_text, inputs, "tiny-cpu/.passes")


@pytest.mark.docker
def test_so_it_does_with_what_a_container_left(
    image: str, deep_model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    inputs = {"executor": "docker", "image": image, "device": "cpu"}
    job = "tiny-cpu/container-output/.passes"
    stopped_and_again(tmp_path, deep_model, calibration_text, inputs, job)


@pytest.mark.parametrize("token", ["", "hf_writeCanary0005"], ids=["one step", "a step of its own"])
def test_what_could_not_be_published_is_published_by_the_next_attempt_without_quantizing_again(
    deep_model: Path, calibration_text: Path, tmp_path: Path, token: str
) -> None:
    first = Runner(tmp_path / "first", "push")
    second = Runner(tmp_path / "second", "push", environment={"GITHUB_RUN_ATTEMPT": "2"})
    third = Runner(tmp_path / "third", "push", environment={"GITHUB_RUN_ATTEMPT": "3"})
    for runner in (first, second, third):
        ready_environment(runner, "cpu")
        manifest(runner.workspace, deep_model, calibration_text, FASTEST)
        # Somebody's own folder is where the checkpoint should go.
        (runner.workspace / "published" / "tiny-bnb-8bit").mkdir(parents=True)
    third.workspace.joinpath("published", "tiny-bnb-8bit").rmdir()
    inputs = {"executor": "local", "device": "cpu", "hf-token-write": token}
    failed = first.use(ROOT, inputs)
    assert failed.step("Set the outputs").code == 5
    assert "Quantizing" in failed.log
    before, again = first, failed
    for runner in (second, third):
        (saved,) = before.caches.iterdir()
        copy_cache(saved, runner.caches / saved.name)
        again = runner.use(ROOT, inputs)
        assert "Quantizing" not in again.log
        (runner.caches / saved.name).rename(tmp_path / saved.name)
        before = runner
    assert again.succeeded, again.log
    assert json.loads(again.outputs["counts"])["published"] == 1
    made = Path("published", "tiny-bnb-8bit", "model.safetensors")
    built = Path("output", "tiny-bnb-8bit", "model.safetensors")
    assert (third.workspace / made).read_bytes() == (first.workspace / built).read_bytes()
    (kept,) = third.caches.iterdir()
    assert [path.name for path in kept.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("beyond", "state"), [(False, "./output/.state"), (True, "./output/.state/unpublished")]
)
def test_where_the_manifest_has_a_store_unfinished_jobs_are_no_matter_of_the_cache(
    tmp_path: Path, *, beyond: bool, state: str
) -> None:
    plan = {"jobs": [], "publish": {"needs_credentials": False}, "state": {"beyond_output": beyond}}
    tool = tmp_path / "model-quantizer-core" / "bin" / "model-quantizer"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(plan)}'\n", encoding="utf-8")
    tool.chmod(0o755)
    read_inputs(DEFAULTS, PUSH).save(tmp_path)
    outputs = tmp_path / "outputs"
    names = {"WORK": str(tmp_path), "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(outputs)}
    subprocess.run(
        [sys.executable, "-Es", str(ROOT / "tools" / "action" / "main.py"), "plan"],
        env={**os.environ, **names},
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    assert read_outputs(outputs.read_text(encoding="utf-8")) == {"run": "true", "state": state}
