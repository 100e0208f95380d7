"""What the host keeps of a job that was killed, what it hands on, and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import ErrorCode
from quantize_lib.files import write_json
from quantize_lib.host.job_state import JobState, sweep
from quantize_lib.host.lookups import Identity
from quantize_lib.host.output_folder import working_in
from quantize_lib.host.prepare import Prepared
from quantize_lib.job.job_file import JobCell, JobFile, JobModel
from quantize_lib.job.layout import CONTAINER_OUTPUT, ENDED_FILE, PASSES
from quantize_lib.job.result import (
    CellResult,
    FailedCell,
    JobResult,
    QuantizedCell,
    write_result,
)
from quantize_lib.job.statistics_record import StatisticsRecord
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.source import Resolved
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.worker.answer import Answer
from quantize_lib.worker.held_out import HeldOut
from quantize_lib.worker.resume import Finished, cell_keys, pass_key
from tests.support.records import MEASURED, RELOAD, TEXT
from tests.support.shards import save_shard

GPTQ = Cell(id="m-gptq-4bit", settings=Settings(method="gptq", bits=4), repository="m-gptq-4bit")
BNB = Cell(id="m-bnb-8bit", settings=Settings(method="bitsandbytes", bits=8), repository="m-bnb-8bit")
QUANTIZED = QuantizedCell(
    seconds=1.0,
    size_after=8,
    format="gptq",
    group_size=64,
    notes=("a note",),
    errors={"layer": 0.5, "another": None},
    figures=MEASURED.figures,
    reload=RELOAD,
)
FAILED = FailedCell(error="no", code=ErrorCode.ENGINE)


def result_of(cells: Mapping[str, CellResult]) -> JobResult:
    """The answer of a process that ended."""
    return JobResult(
        job="m-auto",
        device="cpu",
        versions={"torch": "1"},
        peak_memory_bytes=1,
        cells=cells,
        shared_seconds=2.5,
        calibration=TEXT,
    )


def prepared(*cells: Cell, fingerprint: str = "f") -> Prepared:
    """A job of these cells, as far as its state needs it."""
    return Prepared(
        job=Job(
            id="m-auto",
            model=ModelSpec(id="m", name="m"),
            device="auto",
            calibration=TextSpec(texts=("a",)),
            evaluate=EvaluateSpec(),
            cells=cells,
        ),
        facts=ModelFacts(config={}, revision="r", tensors={}, layers=(), weight_bytes=0, download_bytes=0),
        group_sizes={},
        calibration=None,
        evaluation=None,
        refused={},
        identities={
            cell.id: Identity(
                model=Resolved(revision="r", name="m"), fingerprint=f"{fingerprint} {cell.id}", inputs={}
            )
            for cell in cells
        },
    )


def ended(state: JobState, *cells: Cell) -> None:
    """A quantizing process that left these cells, and the host's word for it."""
    for cell in cells:
        (state.folder / cell.id).mkdir(parents=True)
        (state.folder / cell.id / "config.json").write_text("{}")
    write_result(state.folder / "result.json", result_of({cell.id: QUANTIZED for cell in cells}))
    state.write_made(prepared(*cells))


def test_made_cells_are_found_until_their_settings_change(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    assert state.made(prepared(GPTQ, BNB)) == ((), None)
    ended(state, GPTQ, BNB)
    cells, result = state.made(prepared(GPTQ, BNB))
    assert cells == (GPTQ, BNB)
    assert result == result_of({GPTQ.id: QUANTIZED, BNB.id: QUANTIZED})
    assert state.made(prepared(BNB))[0] == (BNB,)
    assert state.made(prepared(BNB, fingerprint="another"))[0] == ()
    other = prepared(BNB)
    assert state.made(replace(other, job=replace(other.job, device="cpu")))[0] == ()


def test_a_cell_whose_folder_is_gone_is_not_made_but_a_failed_one_is(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    ended(state, GPTQ, BNB)
    write_result(state.folder / "result.json", result_of({GPTQ.id: FAILED, BNB.id: QUANTIZED}))
    for cell in (GPTQ, BNB):
        (state.folder / cell.id / "config.json").unlink()
        (state.folder / cell.id).rmdir()
    assert state.made(prepared(GPTQ, BNB))[0] == (GPTQ,)


def test_card_and_record_of_a_killed_run_are_taken_off_and_nothing_else(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    ended(state, BNB)
    folder = state.folder / BNB.id
    for name in ("README.md", "quantization_report.json", ".README.md.x1", ".quantization_report.json.x2"):
        (folder / name).write_text("half")
    (folder / ".config.json.x3").write_text("not ours")
    state.made(prepared(BNB))
    assert sorted(path.name for path in folder.iterdir()) == [".config.json.x3", "config.json"]


@pytest.mark.parametrize("damage", ["{", "[]", '{"cells": 3}'])
def test_a_damaged_note_makes_nothing(damage: str, tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    ended(state, BNB)
    (state.folder / "made.json").write_text(damage)
    assert state.made(prepared(BNB))[0] == ()


def test_the_answer_of_another_version_makes_nothing(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    ended(state, BNB)
    cell = {"seconds": 1.0, "size_after": 8, "perplexity_before": 2.0, "perplexity_after": 3.0}
    result = {"version": 1, "job": "m-auto", "device": "cpu", "versions": {}, "peak_memory_bytes": 1}
    write_json(state.folder / "result.json", {**result, "cells": {BNB.id: cell}})
    assert state.made(prepared(BNB)) == ((), None)


def test_a_job_begins_with_what_its_process_goes_on_from(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    for name in (PASSES, CONTAINER_OUTPUT, BNB.id, GPTQ.id, ".reload", "container-job", "logs"):
        (state.folder / name).mkdir(parents=True)
    for name in ("job.json", "result.json", ".result.json.half"):
        (state.folder / name).write_text("{}")
    (state.folder / "link").symlink_to(tmp_path)
    state.begin([BNB.id])
    assert {path.name for path in state.folder.iterdir()} == {PASSES, CONTAINER_OUTPUT, BNB.id}
    assert tmp_path.exists()


def test_the_result_of_a_container_that_ended_is_kept(tmp_path: Path) -> None:
    state = JobState(tmp_path, "m-auto")
    state.begin([])
    for name in (ENDED_FILE, "result.json", "job.json"):
        (state.folder / name).write_text("{}")
    state.begin([])
    assert {path.name for path in state.folder.iterdir()} == {ENDED_FILE, "result.json"}


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ("made.json", True),
        (f"{PASSES}/finished.json", True),
        (f"{PASSES}/2/progress.json", True),
        (f"{CONTAINER_OUTPUT}/{PASSES}/lock", True),
        (f"{PASSES}/lock", False),
        (f"{PASSES}/1/m/part-00001.safetensors", False),
        (f"{CONTAINER_OUTPUT}/m/config.json", False),
        ("job.json", False),
    ],
)
def test_a_job_that_an_error_ended_stays_where_there_is_something_to_go_on_from(
    left: str, kept: bool, tmp_path: Path
) -> None:
    state = JobState(tmp_path, "m-auto")
    (state.folder / left).parent.mkdir(parents=True)
    (state.folder / left).write_text("{}")
    state.end(keep=True)
    assert state.folder.exists() is kept
    state.end()
    assert list(tmp_path.iterdir()) == []


def test_only_the_plan_s_jobs_keep_their_state(tmp_path: Path) -> None:
    with working_in(tmp_path) as folder:
        for job in ("a-auto", "b-auto"):
            JobState(folder, job).begin([])
        (folder / "old-cell").mkdir()
    (tmp_path / ".report.json.half").write_text("{")
    with working_in(tmp_path) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["jobs", "lock"]
        sweep(folder, ["b-auto"])
        assert [path.name for path in (folder / "jobs").iterdir()] == ["b-auto"]
        sweep(folder, [])
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert [path.name for path in tmp_path.iterdir()] == [".state"]


def job(**changes: Any) -> JobFile:
    """A job of two cells, one of them calibrated."""
    given: dict[str, Any] = {
        "id": "m-auto",
        "model": JobModel(path=Path("/m"), name="m", revision="r"),
        "device": "cpu",
        "calibration": None,
        "evaluation": None,
        "cells": (JobCell(id="g", settings=GPTQ.settings), JobCell(id="b", settings=BNB.settings)),
        "output": Path("/out"),
    }
    return JobFile(**given | changes)


def known(*, device: str = "cpu", torch: str = "1", calibration: str = "c", evaluation: str = "e") -> Answer:
    """What a process knows before it opens a pass: device, a version, and digests of its texts."""
    answer = Answer(job())
    answer.device, answer.versions = device, {"torch": torch}
    answer.calibration = replace(TEXT, tokens_digest=calibration)
    answer.held_out = HeldOut(first=replace(TEXT, tokens_digest=evaluation))
    return answer


def shard(folder: Path, tokens: int) -> StatisticsRecord:
    """A shard whose sums say that it saw so many tokens."""
    return save_shard(folder, 1, 1, tensors={"block.layer/tokens": torch.tensor([tokens])})


def test_what_determines_a_pass_and_what_does_not(tmp_path: Path) -> None:
    key = pass_key(job(), known())
    assert key == pass_key(job(output=Path("/elsewhere"), cells=()), known(calibration="x"))
    assert key == pass_key(job(model=JobModel(path=Path("/other"), name="n", revision="r")), known())
    others = [
        pass_key(job(model=JobModel(path=Path("/m"), name="m", revision="s")), known()),
        pass_key(job(prompt="Another"), known()),
        pass_key(job(), known(device="cuda")),
        pass_key(job(), known(torch="2")),
        pass_key(job(), known(evaluation="x")),
        pass_key(job(), known(), [shard(tmp_path / "one", 3)]),
        pass_key(job(), known(), [shard(tmp_path / "other", 4)]),
    ]
    assert len({key, *others}) == 8


def test_calibration_determines_the_cells_that_use_it() -> None:
    before, after = cell_keys(job(), known()), cell_keys(job(), known(calibration="x"))
    assert before["b"] == after["b"]
    assert before["g"] != after["g"]
    changed = replace(GPTQ.settings, own={"sym": False})
    assert cell_keys(job(cells=(JobCell(id="g", settings=changed),)), known())["g"] != before["g"]


def test_finished_cells_are_found_as_they_were_and_changed_or_failed_ones_go(tmp_path: Path) -> None:
    (tmp_path / PASSES).mkdir()
    made = Finished(tmp_path / PASSES, "key")
    for cell_id in ("a", "b", "c"):
        (tmp_path / cell_id).mkdir()
        made.add(cell_id, f"key of {cell_id}", QUANTIZED, {"perplexity": 1.5, "kl_divergence": 0.25})
    made.add("d", "key of d", FAILED, None)
    made.sample, made.shared_seconds, made.peak_memory_bytes = 2, 3.5, 7
    made.save()
    (tmp_path / "c").rmdir()
    keys = {"a": "key of a", "b": "another", "c": "key of c", "d": "key of d"}
    found = Finished.find(tmp_path, "key", keys)
    assert found.cells == {"a": QUANTIZED}
    assert found.means == {"a": {"perplexity": 1.5, "kl_divergence": 0.25}}
    assert (found.sample, found.shared_seconds, found.peak_memory_bytes) == (2, 3.5, 7)
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    assert Finished.find(tmp_path, "another", keys).cells == {}
    assert not (tmp_path / "a").exists()


def test_a_list_of_finished_cells_of_another_version_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / PASSES).mkdir()
    (tmp_path / "a").mkdir()
    kept = {
        "key": "key of a",
        "entry": {"seconds": 1.0, "size_after": 8},
        "figures": {"nll": 1.5, "kl": 0.25},
    }
    data = {"key": "key", "sample": 2, "shared_seconds": 1.0, "peak_memory_bytes": 1, "cells": {"a": kept}}
    write_json(tmp_path / PASSES / "finished.json", data)
    found = Finished.find(tmp_path, "key", {"a": "key of a"})
    assert (found.cells, found.means, found.sample) == ({}, {}, 0)


def test_a_list_of_finished_cells_cannot_name_a_folder_elsewhere(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / PASSES).mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    made = Finished(output / PASSES, "key")
    made.add("../mine", "key of it", QUANTIZED, None)
    made.save()
    assert Finished.find(output, "key", {}).cells == {}
    assert (tmp_path / "mine").exists()
