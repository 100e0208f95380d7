"""How a job fits into the memory that it may take."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, JobText
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.memory_needs import memory_needs
from quantize_lib.worker.job_memory import Fit, base_too_large, fit, room_for_weights
from tests.support.down_projections import facts

SILENT = PlainReporter(io.StringIO())
CELLS = (JobCell(id="a", settings=Settings(method="gptq", bits=4)),)


def text(samples: int) -> JobText:
    return JobText(
        texts=Path("t.json"),
        source="s",
        dataset=None,
        revision="r",
        samples=samples,
        sequence_length=512,
    )


JOB = JobFile(
    id="mine-cpu",
    model=JobModel(path=Path("m"), name="m", revision="r"),
    device="cpu",
    calibration=text(100),
    evaluation=text(10),
    cells=CELLS,
    output=Path("out"),
)


@pytest.mark.parametrize(("limit", "room"), [(None, 0), (10**12, 0), (1_200_000_000, 100 + 2 * 10)])
def test_room_is_made_on_disk_where_memory_has_none(limit: int | None, room: int) -> None:
    assert fit(replace(JOB, max_memory=limit), CELLS, facts(), "cpu", SILENT).spill == room


def test_a_block_is_calibrated_ahead_where_memory_has_room_and_nothing_is_spilled() -> None:
    needs = memory_needs(
        facts(), [cell.settings for cell in CELLS], calibration=JOB.calibration, evaluation=JOB.evaluation
    )
    assert needs.ahead > 0
    for limit, ahead in ((None, True), (needs.whole, True), (needs.whole - 1, False), (1_200_000_000, False)):
        assert fit(replace(JOB, max_memory=limit), CELLS, facts(), "cpu", SILENT).ahead is ahead


def test_cells_work_at_the_same_time_where_memory_has_room() -> None:
    cells = (*CELLS, JobCell(id="b", settings=Settings(method="awq", bits=4)))
    needs = memory_needs(
        facts(), [cell.settings for cell in cells], calibration=JOB.calibration, evaluation=JOB.evaluation
    )
    for limit, lanes in ((None, 2), (needs.whole, 2), (needs.hidden + needs.rest, 1), (1_700_000_000, 1)):
        assert fit(replace(JOB, max_memory=limit), cells, facts(), "cpu", SILENT).lanes == lanes
    assert fit(JOB, CELLS, facts(), "cpu", SILENT).lanes == 1


def test_a_limit_is_refused_where_it_would_bound_nothing() -> None:
    assert fit(JOB, CELLS, facts(), "cuda", SILENT) == Fit(spill=0)
    with pytest.raises(UsageError, match="mine-cpu is computed on cuda"):
        fit(replace(JOB, max_memory=10**12), CELLS, facts(), "cuda", SILENT)


def test_a_base_model_that_does_not_fit_is_not_loaded_whole() -> None:
    limited = replace(JOB, max_memory=480_000_000)
    said = base_too_large(limited, facts(), "cpu")
    assert said is not None
    assert said.endswith("memory, and there are 480.0 MB")
    assert base_too_large(limited, facts(), "cuda") is None
    assert base_too_large(replace(JOB, max_memory=10**9), facts(), "cpu") is None
    assert base_too_large(JOB, facts(), "cpu") is None


def test_weights_are_kept_beside_a_checkpoint_where_they_fit_and_only_on_a_cpu() -> None:
    assert room_for_weights(JOB, facts(), "cpu")
    assert not room_for_weights(JOB, facts(), "cuda")
    assert not room_for_weights(replace(JOB, max_memory=480_000_000), facts(), "cpu")
