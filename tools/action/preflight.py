"""Compares what a run needs with what the runner has, before anything is downloaded. Standard library only.

Sizes are those of `plan --format json`. Time is a rule of thumb:

    seconds = parameters × (calibration tokens + held-out tokens × (cells + 1)) / 3.3e10
            + 50 s a cell for the reload

measured with SmolLM2-135M-Instruct on two busy cores: 134.5 million parameters, 64 × 512 calibration and
10 × 512 held-out tokens, five cells in 495 s, of which the reloads took 239 s. The rounding of the weights
counts in the rate. More cores are faster, a larger model reloads slower; so a run is refused only where half
the estimate would still be too long, and warned of where the whole is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_lib.executors.docker.daemon import container_memory
from quantize_lib.methods import get_method
from quantize_lib.plan.cells import HELD_OUT, TEXTS

RATE = 3.3e10
"""Parameters × tokens a second, on two CPU cores."""
RELOAD_SECONDS = 50
"""Of each cell: load, generate, measure."""
JOB_HOURS = 6
"""After which GitHub stops a job on its own runners."""
_SPARE_DISK = 2 * 10**9
"""The CPU image, logs, temporary files."""
_CUDA_IMAGE = 6 * 10**9
"""Pulled after this comparison, as the models are (docs/how-to/containers.md has the images' sizes)."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What the machine has.

    Attributes:
        disk: bytes free where the output goes.
        memory: bytes of main memory.
        hosted: whether GitHub owns it, so that the time limit holds.
    """

    disk: int
    memory: int
    hosted: bool


def this_runner(output: Path, environ: Mapping[str, str]) -> Runner:
    """Look at this machine."""
    folder = output.absolute()
    while not folder.exists():
        folder = folder.parent
    return Runner(
        disk=shutil.disk_usage(folder).free,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        hosted=environ.get("RUNNER_ENVIRONMENT") == "github-hosted",
    )


def job_seconds(job: Mapping[str, Any]) -> float:
    """Estimated time of a job, by the rule of thumb above; 0 where nothing is known of its model."""
    if job["estimate"] is None:
        return 0.0
    cells = len(job["cells"])
    calibrated = any(get_method(cell["method"]).calibrated for cell in job["cells"])
    tokens = _tokens(job["calibration"]) if calibrated else 0
    if (held_out := job["evaluate"][HELD_OUT]) is not None:
        texts = job["evaluate"].get(TEXTS, {}).values()
        tokens += sum(map(_tokens, (held_out, *texts))) * (cells + 1)
    return float(job["estimate"]["parameters"] * tokens / RATE + RELOAD_SECONDS * cells)


def compare(
    jobs: Sequence[Mapping[str, Any]], runner: Runner, *, containers: bool
) -> tuple[list[str], list[str]]:
    """What cannot work, and what may not.

    Args:
        jobs: of a plan, as `schemas/plan.schema.json` describes it.
        containers: whether they run in some.

    Returns:
        Errors and warnings.
    """
    errors: list[str] = []
    warnings: list[str] = []
    known = [job for job in jobs if job["estimate"] is not None]
    # Checkpoints and downloads of all jobs stay; memory is one job's at a time, as are activations on disk.
    disk = sum(job["estimate"]["disk_bytes"] for job in known) + _SPARE_DISK * bool(known)
    disk += _CUDA_IMAGE * (containers and any(job["device"] == "cuda" for job in known))
    disk += max((_spilled(job, runner, containers=containers) for job in known), default=0)
    if disk > runner.disk:
        errors.append(
            f"disk: {_gigabytes(disk)} needed, {_gigabytes(runner.disk)} free. "
            "Run fewer cells in a job (`only`), or take a runner with a larger disk."
        )
    there = _memory(runner, containers=containers)
    for job in known:
        memory = job["estimate"]["peak_memory_bytes"]
        if _spills(job, containers=containers):
            memory -= job["estimate"]["activation_bytes"]
        if memory > there:
            errors.append(
                f"{job['id']}: {_gigabytes(memory)} of memory needed, the runner has "
                f"{_gigabytes(there)}{' for a container' if containers else ''}. "
                "Take fewer or shorter calibration samples, or a larger runner."
            )
    hours = sum(map(job_seconds, jobs)) / 3600
    if runner.hosted and hours > JOB_HOURS:
        problem = (
            f"time: about {hours:.0f} hours by a rule of thumb, and GitHub stops a job after {JOB_HOURS}. "
            "Take fewer calibration samples, or a self-hosted runner."
        )
        (errors if hours > 2 * JOB_HOURS else warnings).append(problem)
    return errors, warnings


def _memory(runner: Runner, *, containers: bool) -> int:
    return container_memory(runner.memory) if containers else runner.memory


def _spills(job: Mapping[str, Any], *, containers: bool) -> bool:
    """Whether activations go to disk where they do not fit: in a container, which has a limit, on a CPU."""
    return containers and job["device"] != "cuda"


def _spilled(job: Mapping[str, Any], runner: Runner, *, containers: bool) -> int:
    """Bytes of activations on disk: what a block reads, and what it writes."""
    estimate = job["estimate"]
    fits = estimate["peak_memory_bytes"] <= _memory(runner, containers=containers)
    return 0 if fits or not _spills(job, containers=containers) else 2 * int(estimate["activation_bytes"])


def _tokens(text: Mapping[str, Any]) -> int:
    return int(text["samples"]) * int(text["sequence_length"])


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
