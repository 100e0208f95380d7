"""action.yml's way of calibrating on several runners: the plan's matrices, and a shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.action_runner import ActionResult, Runner, ready_environment
from tests.support.small_runs import ROOT, manifest, save_tiny_model


def prepared(folder: Path, profile: str, model: Path, text: Path) -> Runner:
    """A fresh runner with the caller's repository checked out."""
    runner = Runner(folder, "push")
    ready_environment(runner, profile)
    manifest(runner.workspace, model, text, [{"method": "gptq", "bits": 4}])
    return runner


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, held_out_text: Path) -> tuple[Path, ActionResult]:
    """A tiny model, and the plan that splits its calibration text over two jobs."""
    folder = tmp_path_factory.mktemp("shards")
    model = save_tiny_model(folder / "model", held_out_text)
    runner = prepared(folder / "plan", "core", model, held_out_text)
    return model, runner.use(ROOT, {"command": "plan", "shards": "2", "device": "cpu"})


def test_a_plan_gives_both_matrices(planned: tuple[Path, ActionResult]) -> None:
    outputs = planned[1].outputs
    (job,) = json.loads(outputs["matrix"])["include"]
    assert (job["job"], job["cells"], job["shards"]) == ("tiny-cpu", "tiny-gptq-4bit", 2)
    shards = json.loads(outputs["shards"])["include"]
    assert [entry["shard"] for entry in shards] == ["1/2", "2/2"]
    # What the last job of the workflow reads.
    assert json.loads(Path(outputs["matrix-file"]).read_text()) == json.loads(outputs["matrix"])


def test_a_shards_job_leaves_its_statistics_and_publishes_nothing(
    planned: tuple[Path, ActionResult], tmp_path: Path, held_out_text: Path
) -> None:
    entry = json.loads(planned[1].outputs["shards"])["include"][1]
    runner = prepared(tmp_path, "cpu", planned[0], held_out_text)
    result = runner.use(
        ROOT,
        {
            "command": "calibrate",
            "shard": entry["shard"],
            "only": entry["cells"],
            "device": entry["device"],
            "executor": "local",
            "output": "statistics",
            "hf-token-write": "hf_" + "w" * 34,
        },
    )
    assert result.succeeded, "\n".join(step.log for step in result.steps)
    assert result.outputs["statistics"] == "./statistics"
    made = runner.workspace / "statistics" / "tiny-cpu" / "2-of-2"
    assert {path.name for path in made.iterdir()} == {"model.safetensors", "statistics.json"}
    assert not result.step("Publish").ran
    assert result.outputs["report"] == result.outputs["artifact"] == ""
