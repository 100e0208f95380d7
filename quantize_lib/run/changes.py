"""Leaves out of a plan what is published unchanged."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.publish.base import Publisher
from quantize_lib.run.prepare import prepare
from quantize_lib.run.unchanged import published_before
from quantize_lib.types import Plan, Reporter


def changed_only(plan: Plan, publisher: Publisher | None, reporter: Reporter) -> Plan:
    """The plan's cells whose published fingerprint is missing or another one.

    Args:
        publisher: knows what is published; without one every cell is to be built.

    Raises:
        QuantizerError: where a base model or its texts cannot be looked at.
    """
    if publisher is None:
        reporter.info("what is published cannot be compared: every cell is to be built")
        return plan
    jobs = []
    for job in plan.jobs:
        prepared = prepare(job, reporter)
        cells = tuple(
            cell for cell in job.cells if published_before(cell, prepared, publisher, reporter) is None
        )
        for cell in job.cells:
            reporter.info(f"{cell.id}: {'to be built' if cell in cells else 'published unchanged'}")
        if cells:
            jobs.append(replace(job, cells=cells))
    return replace(plan, jobs=tuple(jobs))
