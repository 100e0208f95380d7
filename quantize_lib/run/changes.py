"""Leaves out of a plan what is published unchanged."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.publish.base import Publisher
from quantize_lib.run.prepare import prepare
from quantize_lib.run.unchanged import published_before
from quantize_lib.types import Plan, Reporter


def changed_only(plan: Plan, publisher: Publisher | None, reporter: Reporter) -> Plan:
    """The plan's cells whose published fingerprint is missing or another one.

    Args:
        publisher: knows what is published; without one every cell is to be built.

    A job whose base model or texts cannot be looked at is kept: its run says what is wrong, the others go on.

    Raises:
        UsageError: where a cell's settings do not fit its model.
    """
    if publisher is None:
        reporter.info("what is published cannot be compared: every cell is to be built")
        return plan
    jobs = []
    for job in plan.jobs:
        try:
            prepared = prepare(job, reporter)
        except (SourceError, CalibrationError) as error:
            reporter.warning(f"{job.id}: {error}")
            jobs.append(job)
            continue
        cells = tuple(
            cell for cell in job.cells if published_before(cell, prepared, publisher, reporter) is None
        )
        for cell in job.cells:
            reporter.info(f"{cell.id}: {'to be built' if cell in cells else 'published unchanged'}")
        if cells:
            jobs.append(replace(job, cells=cells))
    return replace(plan, jobs=tuple(jobs))
