"""A run that was killed after its container had ended takes what that left, and needs no engine for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from quantize_lib.executors.docker.container_spec import state_limit
from quantize_lib.executors.docker.executor import DockerExecutor, DockerOptions, digest_of
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, JobText, read_job, write_job
from quantize_lib.job.layout import CONTAINER_OUTPUT, ENDED_FILE
from quantize_lib.methods.settings import Settings
from quantize_lib.reporting import Reporter

if TYPE_CHECKING:
    from docker import DockerClient

SETTINGS = Settings(method="bitsandbytes", bits=8)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """A job of two cells, whose container has ended; the first was taken before the run was killed."""
    text = tmp_path / "calibration.json"
    text.write_text('["words"]')
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"hidden_size": 16}')
    path = tmp_path / "job.json"
    write_job(
        path,
        JobFile(
            id="m-auto",
            model=JobModel(path=tmp_path / "m", name="m", revision="r"),
            device="cpu",
            calibration=JobText(
                texts=text, source="x", dataset=None, revision="r", samples=3, sequence_length=5
            ),
            evaluation=None,
            cells=(JobCell(id="a", settings=SETTINGS), JobCell(id="b", settings=SETTINGS)),
            output=tmp_path,
        ),
    )
    (tmp_path / "result.json").write_text("{}")
    for cell in (tmp_path / "a", tmp_path / CONTAINER_OUTPUT / "b"):
        cell.mkdir(parents=True)
        (cell / "config.json").write_text(json.dumps(cell.name))
    return path


def executor() -> DockerExecutor:
    """One that has no engine: it would fail where it asked it for something."""
    options = DockerOptions(image="none", memory=None, timeout=1)
    return DockerExecutor(cast("DockerClient", None), options, memory=0, gpus=False)


def test_what_an_ended_container_left_is_taken_without_running_it_again(job_file: Path) -> None:
    folder = job_file.parent
    (folder / ENDED_FILE).write_text(digest_of(job_file, read_job(job_file)))
    executor()(job_file, log=folder / "log.txt", reporter=cast(Reporter, None))
    assert [json.loads((folder / name / "config.json").read_text()) for name in "ab"] == ["a", "b"]
    assert (folder / "result.json").exists()


def test_another_job_is_run_whatever_ended(job_file: Path) -> None:
    folder = job_file.parent
    (folder / ENDED_FILE).write_text(digest_of(job_file, read_job(job_file)))
    (folder / "calibration.json").write_text('["other words"]')
    with pytest.raises(AttributeError):
        executor()(job_file, log=folder / "log.txt", reporter=cast(Reporter, None))
    assert (folder / "container-job").exists()


def test_room_for_the_state_is_the_hidden_states_twice(job_file: Path) -> None:
    job = read_job(job_file)
    assert state_limit(job) == 2 * 4 * 16 * 3 * 5
    both = replace(job, evaluation=job.calibration)
    assert state_limit(both) == 2 * 4 * 16 * 3 * 5 * (1 + 3)
