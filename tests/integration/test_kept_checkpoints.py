"""What is finished is never thrown away: whatever fails after the writing, the next run goes on there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.engine.model import StreamedModel
from quantize_lib.errors import (
    CheckpointError,
    EngineError,
    ErrorCode,
    EvaluationError,
    ExitCode,
    PublishError,
)
from quantize_lib.files import read_json
from quantize_lib.host.republish import republish
from quantize_lib.job.records import Reload
from quantize_lib.manifest import load_manifest
from quantize_lib.publish.registry import get_publisher
from quantize_lib.report.records import RECORD_FILE
from tests.support.in_process import reload_at_once, run_here
from tests.support.quantizing import Silent
from tests.support.small_runs import FASTEST, evaluation, manifest, save_tiny_model

CELLS = [{"method": "gptq", "bits": 4}, *FASTEST]
RELOAD = "quantize_lib.evaluate.check.check_reload"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Hushed(Silent):
    """A reporter of runs that fail."""

    def error(self, message: str) -> None: ...


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("kept") / "tiny", calibration_text)


@pytest.fixture
def plan(model: Path, calibration_text: Path, held_out_text: Path, tmp_path: Path) -> Path:
    return manifest(
        tmp_path,
        model,
        calibration_text,
        CELLS,
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )


@pytest.fixture(autouse=True)
def _reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    reload_at_once(monkeypatch)


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def run(plan: Path) -> tuple[ExitCode, dict[str, Any]]:
    publisher = get_publisher(load_manifest(plan).publish)
    code, records = run_here(plan, plan.parent / "output", Hushed(), publisher=publisher)
    return code, dict(records)


def run_failing(plan: Path, step: str, error: BaseException) -> tuple[ExitCode, dict[str, Any]]:
    """A run in which a step raises an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, failing(error))
        return run(plan)


def goes_on_without_quantizing(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command again ends well, and no block of the model is read for it."""
    with monkeypatch.context() as patch:
        patch.setattr(StreamedModel, "load_block", failing(AssertionError("a block is quantized again")))
        code, records = run(plan)
    assert {name: record.error for name, record in records.items()} == dict.fromkeys(records)
    assert code == ExitCode.OK
    assert all(record.status in ("published", "skipped") for record in records.values())
    assert not (plan.parent / "output" / ".state" / "jobs").exists()


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("quantize_lib.checkpoint.shards.ShardWriter.finish", CheckpointError("no room")),
        ("quantize_lib.worker.run_job.assemble", CheckpointError("no room")),
        ("quantize_lib.worker.run_job.assemble", RuntimeError("a bug")),
        ("quantize_lib.worker.run_job.weight_bytes", FULL),
        ("quantize_lib.checkpoint.shards.write_tensors", FULL),
        ("quantize_lib.worker.resume.Finished.save", FULL),
        (RELOAD, EvaluationError("it does not load")),
        (RELOAD, RuntimeError("a bug")),
        ("quantize_lib.worker.answer.write_result", FULL),
        ("quantize_lib.host.finish.add_notice", FULL),
        ("quantize_lib.host.finish.render_card", RuntimeError("a bug")),
        ("quantize_lib.host.finish.write_text", FULL),
        ("quantize_lib.host.finish.sha256_file", FULL),
        ("quantize_lib.host.finish.write_json", FULL),
        ("quantize_lib.host.finish.replace_folder", FULL),
        ("quantize_lib.publish.directory.publisher.DirectoryPublisher.publish", PublishError("read only")),
    ],
    ids=lambda value: value.rpartition(".")[2] if isinstance(value, str) else type(value).__name__,
)
def test_the_next_run_goes_on_after_a_failure_in(
    step: str, error: BaseException, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        code, _ = run_failing(plan, step, error)
    except RuntimeError:
        code = ExitCode.BUG
    assert code != ExitCode.OK
    goes_on_without_quantizing(plan, monkeypatch)


def test_a_checkpoint_that_failed_its_check_lies_in_the_output_folder_marked(plan: Path) -> None:
    code, records = run_failing(plan, RELOAD, EvaluationError("it does not load"))
    output = plan.parent / "output"
    assert code == ExitCode.CELL_FAILED
    for name, record in records.items():
        assert (record.status, record.path) == ("failed", name)
        assert str(record.error).startswith("it does not load\n")
        assert (output / name / "model.safetensors").stat().st_size > 100_000
        assert not (output / name / "README.md").exists()
        mark = read_json(output / name / RECORD_FILE)
        assert (mark["status"], mark["error"]) == ("failed", record.error)
        assert mark["code"] == ErrorCode.EVALUATION
    assert {record.status for record in republish(output, Hushed())} == {"failed"}
    assert not (plan.parent / "published").exists()


def test_one_that_failed_does_not_hold_up_the_others(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantize_lib.evaluate import check

    good = check.check_reload

    def reload(folder: Path, **words: Any) -> Reload:
        if "gptq" in folder.name:
            raise EvaluationError("it does not load")
        return good(folder, **words)

    with monkeypatch.context() as patch:
        patch.setattr(RELOAD, reload)
        code, records = run(plan)
    assert code == ExitCode.CELL_FAILED
    assert {name: record.status for name, record in records.items()} == {
        "tiny-gptq-4bit": "failed",
        "tiny-bnb-8bit": "published",
    }
    goes_on_without_quantizing(plan, monkeypatch)


def test_it_is_quantized_again_where_its_files_were_changed(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_failing(plan, RELOAD, EvaluationError("it does not load"))
    output = plan.parent / "output"
    with (output / "tiny-gptq-4bit" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    read: list[int] = []
    original = StreamedModel.load_block

    def counted(self: StreamedModel, index: int) -> Any:
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(StreamedModel, "load_block", counted)
    code, _ = run(plan)
    assert code == ExitCode.OK
    assert read == [0, 1]


def test_another_version_of_a_library_makes_the_check_again_and_no_more(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_failing(plan, RELOAD, EvaluationError("it does not load"))
    from quantize_lib.versions import versions

    newer = {**versions(), "transformers": "5.99.0"}
    monkeypatch.setattr("quantize_lib.worker.answer.versions", lambda: newer)
    goes_on_without_quantizing(plan, monkeypatch)
    record = read_json(plan.parent / "output" / "tiny-gptq-4bit" / RECORD_FILE)
    assert record["versions"]["transformers"] != "5.99.0", "the card says what quantized it"


def test_a_base_model_that_does_not_load_is_told_and_costs_no_checkpoint(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = EvaluationError("the base model: it cannot be loaded (KeyError: 'metadata')")
    monkeypatch.setattr("quantize_lib.evaluate.check.generate_base", failing(error))
    code, records = run(plan)
    assert code == ExitCode.OK
    assert all(error.message in record.notes for record in records.values())


def test_an_interrupted_run_loses_no_tensors(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = run_failing(plan, RELOAD, KeyboardInterrupt())
    assert code == ExitCode.INTERRUPTED
    goes_on_without_quantizing(plan, monkeypatch)


def test_an_error_that_ends_the_whole_process_loses_none(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = run_failing(plan, RELOAD, EngineError("the engine went away"))
    assert code == ExitCode.CELL_FAILED
    goes_on_without_quantizing(plan, monkeypatch)
