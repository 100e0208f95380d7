"""A task of lm-evaluation-harness from a local file runs without a network, and limits on it are judged."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import EvaluationError
from quantize_lib.evaluate.harness import Score
from quantize_lib.report.records import CellRecord
from tests.support.in_process import reload_at_once, run_here
from tests.support.local_task import ENDINGS, write_endings
from tests.support.small_runs import FASTEST, command, manifest, report, save_tiny_model


def test_a_local_task_runs_on_base_and_checkpoint_and_is_reported_carded_and_judged(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    rows = [
        {"text": f"The {word}", "choices": [" was", " is"], "answer": 0} for word in ("man", "war", "day")
    ]
    write_endings(tmp_path / "tasks", rows)
    asked = {"file": "tasks/endings.yml", "limit": 2, "metric": "acc_norm"}

    def write(*tasks: dict[str, object]) -> None:
        manifest(tmp_path, model, calibration_text, FASTEST, evaluate={"tasks": list(tasks)})

    write({**asked, "min": 1.5, "max_loss": 1})
    done = command("run", "quantize.yml", "--no-publish", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    (cell,) = report(tmp_path / "output").values()
    assert cell["status"] == "gated"
    assert "endings: acc_norm is " in cell["error"]
    assert cell["limits"] == {"tasks.endings.min": 1.5, "tasks.endings.max_loss": 1}
    figure = cell["tasks"]["endings"]
    assert (figure["metric"], figure["examples"], figure["more_is_better"]) == ("acc_norm", 2, True)
    assert 0 <= figure["before"] <= 1
    assert 0 <= figure["after"] <= 1
    assert figure["after_error"] is not None
    card = ModelCard.load(tmp_path / "output" / cell["id"] / "README.md")
    assert "| <code>endings</code> | acc&#95;norm | 2 | " in card.text
    assert card.data.eval_results is not None
    assert [(one.dataset_name, one.metric_value) for one in card.data.eval_results] == [
        ("endings", figure["after"])
    ]

    # Another limit is another judgement of the same figures; nothing is made again.
    write({**asked, "min": 0})
    done = command("run", "quantize.yml", "--no-publish", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Quantizing" not in done.stdout + done.stderr
    assert report(tmp_path / "output")[cell["id"]]["tasks"] == cell["tasks"]

    # What cannot be run is told before anything is computed, and what there is stays.
    kept = (tmp_path / "output" / cell["id"] / "model.safetensors").read_bytes()
    (tmp_path / "tasks" / "endings.yml").write_text(ENDINGS.replace("path: json", "path: none-such"))
    done = command("run", "quantize.yml", "--no-publish", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "tasks: the task endings cannot be run (" in done.stderr
    assert "Quantizing" not in done.stdout + done.stderr
    assert (tmp_path / "output" / cell["id"] / "model.safetensors").read_bytes() == kept
    (tmp_path / "tasks" / "endings.yml").write_text("task: [")
    done = command("plan", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "endings.yml:1:8 is not YAML: " in done.stderr
    write({"task": "arc_easy"})
    done = command("run", "quantize.yml", "--executor", "docker", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "arc_easy needs its data set from the Hub, and a container has no network" in done.stderr


def test_a_checkpoint_on_which_a_task_fails_is_kept_and_judged_later_without_quantizing(
    tmp_path: Path, calibration_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    plan = manifest(tmp_path, model, calibration_text, FASTEST, evaluate={"tasks": [{"task": "any"}]})
    reload_at_once(monkeypatch)
    score = Score(metric="acc", more_is_better=True, examples=2, num_fewshot=0, value=0.5, error=None)

    def check(*_: object, **__: object) -> None:
        if unknown:
            raise EvaluationError("tasks: lm-evaluation-harness knows no task any")

    def tasks(folder: Path, *_: object, **__: object) -> dict[str, Score]:
        if folder.name in failing:
            raise EvaluationError(f"{folder.name}: the task any cannot be run")
        return {"any": score}

    def run() -> tuple[int, CellRecord]:
        code, records = run_here(plan, tmp_path / "output", PlainReporter(io.StringIO()))
        (found,) = records.values()
        return code, found

    monkeypatch.setattr("quantize_lib.evaluate.harness.check_tasks", check)
    monkeypatch.setattr("quantize_lib.evaluate.harness.run_tasks", tasks)
    unknown, failing = True, {"tiny-bnb-8bit"}
    code, record = run()
    assert (code, record.path) == (3, None), "nothing was computed"
    unknown = False
    code, record = run()
    assert (code, record.error) == (
        3,
        "tiny-bnb-8bit: the task any cannot be run\n  Everything it printed is in the log of the run.",
    )
    assert (tmp_path / "output" / "tiny-bnb-8bit" / "model.safetensors").is_file()

    def never(_: object) -> None:
        raise AssertionError("it was quantized again")

    monkeypatch.setattr("quantize_lib.engine.shared_pass.SharedPass.run", never)
    unknown = True
    code, record = run()
    assert (code, record.path) == (3, "tiny-bnb-8bit"), "it is kept"
    unknown, failing = False, {"tiny"}
    code, record = run()
    assert code == 0, "without a figure of the base model"
    assert record.measurements is not None
    figure = record.measurements.tasks["any"]
    assert (figure.before, figure.after) == (None, 0.5)
