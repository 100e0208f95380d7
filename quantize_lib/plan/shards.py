"""The part of a plan that can be split: the calibration text of its jobs."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.errors import UsageError
from quantize_lib.plan.cells import EvaluateSpec, Job, Plan


def calibration_of(plan: Plan) -> Plan:
    """The jobs that calibrate, and of them nothing else: what is held out is for the job that adds."""
    jobs = (replace(job, evaluate=EvaluateSpec()) for job in plan.jobs if job.calibrated)
    return replace(plan, jobs=tuple(jobs))


def jobs_to_split(plan: Plan, count: int) -> list[Job]:
    """The jobs that calibrate, each with at least so many sequences of text.

    Raises:
        UsageError: where one has less.
    """
    jobs = [job for job in plan.jobs if job.calibrated]
    for job in jobs:
        if job.calibration.samples < count:
            raise UsageError(
                f"{job.id}: {job.calibration.samples} sequences of calibration text cannot be split over "
                f"{count} shards",
                hint=f"Take at most {job.calibration.samples} shards, or raise `samples`.",
            )
    return jobs
