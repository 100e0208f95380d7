"""A job that GitHub stops in the middle: the next attempt, on a fresh runner, goes on from the cache."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.action_runner import ROOT, Runner, copy_cache, ready_environment
from tests.resuming import BLOCKS, deepen
from tests.small_runs import manifest, save_tiny_model

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
