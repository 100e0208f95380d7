"""What a run needs against what the runner has."""

from __future__ import annotations

from typing import Any

import pytest

from tools.action.preflight import Runner, compare, job_seconds

GB = 10**9
SMALL = Runner(disk=14 * GB, memory=16 * GB, hosted=True)


def job(
    *,
    parameters: int = 134_515_008,
    disk: int = GB,
    memory: int = 2 * GB,
    activations: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """A job as `plan --format json` prints it, as far as it matters here; the demo's by default."""
    return {
        "id": "m-auto",
        "device": "auto",
        "calibration": {"samples": 64, "sequence_length": 512},
        "evaluate": {"perplexity": {"samples": 10, "sequence_length": 512}},
        "estimate": {
            "disk_bytes": disk,
            "peak_memory_bytes": memory,
            "activation_bytes": activations,
            "parameters": parameters,
        },
        "cells": [{"method": name} for name in ("gptq", "gptq", "awq", "bitsandbytes", "bitsandbytes")],
        **more,
    }


def test_the_demo_fits_a_runner_of_github() -> None:
    assert compare([job()], SMALL, containers=False) == ([], [])


def test_the_rule_of_thumb_gives_back_the_run_that_it_was_measured_with() -> None:
    assert job_seconds(job()) == pytest.approx(495, rel=0.05)


def test_bitsandbytes_alone_needs_no_calibration_time() -> None:
    cells = [{"method": "bitsandbytes"}]
    alone = job(cells=cells, evaluate={"perplexity": None})
    assert job_seconds(alone) == 50
    assert job_seconds(job(cells=[{"method": "gptq"}], evaluate={"perplexity": None})) > 100


def test_a_disk_that_is_too_small_for_all_jobs_together_is_an_error() -> None:
    errors, warnings = compare([job(disk=7 * GB), job(disk=6 * GB)], SMALL, containers=False)
    assert [error.partition(".")[0] for error in errors] == ["disk: 15"]
    assert "14.0 GB free" in errors[0]
    assert not warnings


def test_the_cuda_image_needs_room_where_it_is_used() -> None:
    def needed(device: str, *, containers: bool) -> str:
        nothing = Runner(disk=0, memory=16 * GB, hosted=True)
        (error,) = compare([job(device=device)], nothing, containers=containers)[0]
        return error.split(" needed")[0]

    assert needed("cpu", containers=True) == needed("cuda", containers=False) == "disk: 3.0 GB"
    assert needed("cuda", containers=True) == "disk: 9.0 GB"


def test_memory_is_that_of_one_job_at_a_time() -> None:
    assert compare([job(memory=9 * GB), job(memory=9 * GB)], SMALL, containers=False) == ([], [])
    errors, _ = compare([job(memory=17 * GB)], SMALL, containers=False)
    assert errors[0].startswith("m-auto: 17.0 GB of memory needed, the runner has 16.0 GB.")


def test_a_container_has_a_part_of_the_memory_and_puts_activations_on_disk() -> None:
    large = job(memory=20 * GB, activations=6 * GB)
    assert compare([large], SMALL, containers=False)[0][0].startswith("m-auto: 20.0 GB of memory needed")
    # The activations are on disk twice for a while: 1 + 2 + 12 GB.
    errors, _ = compare([large], SMALL, containers=True)
    assert [error.partition(".")[0] for error in errors] == ["disk: 15"]
    roomy = Runner(disk=15 * GB, memory=16 * GB, hosted=True)
    assert compare([large], roomy, containers=True) == ([], [])
    errors, _ = compare([job(memory=20 * GB, activations=5 * GB)], roomy, containers=True)
    assert errors[0].startswith("m-auto: 15.0 GB of memory needed, the runner has 14.4 GB for a container.")


def test_on_a_gpu_activations_stay_in_memory() -> None:
    roomy = Runner(disk=99 * GB, memory=16 * GB, hosted=True)
    assert compare([job(memory=20 * GB, activations=6 * GB, device="cuda")], roomy, containers=True)[0]


@pytest.mark.parametrize(("parameters", "kind"), [(5, "fits"), (12, "warning"), (30, "error")])
def test_six_hours_warn_and_twice_that_stops(parameters: int, kind: str) -> None:
    errors, warnings = compare([job(parameters=parameters * GB)], SMALL, containers=False)
    assert (bool(errors), bool(warnings)) == (kind == "error", kind == "warning")
    assert all(text.startswith("time: about ") for text in errors + warnings)


def test_a_runner_of_ones_own_has_all_the_time() -> None:
    own = Runner(disk=14 * GB, memory=16 * GB, hosted=False)
    assert compare([job(parameters=30 * GB)], own, containers=False) == ([], [])


def test_a_job_of_which_nothing_is_known_asks_for_nothing() -> None:
    assert compare([job(estimate=None)], Runner(disk=0, memory=0, hosted=True), containers=False) == ([], [])
