"""The jobs of a plan whose calibration text can be split."""

from __future__ import annotations

from quantize_lib.errors import UsageError
from quantize_lib.plan.cells import Job, Plan


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
