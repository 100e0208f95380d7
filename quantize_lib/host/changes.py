"""Leaves out of a plan what need not be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.prepare import look
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.verdict import Verdict
from quantize_lib.reporting import Reporter


def changed_only(plan: Plan, verdicts: Mapping[str, Verdict], lookups: Lookups, reporter: Reporter) -> Plan:
    """The plan's cells that are to be built.

    A job whose base model or text cannot be looked at is kept: its run says what is wrong, the others go on.

    Raises:
        UsageError: where the settings of a cell that is kept do not fit its model.
    """
    jobs = []
    for job in plan.jobs:
        for cell in job.cells:
            verdict = verdicts[cell.id]
            reporter.info(f"{cell.id}: {'to be built' if verdict.build else 'left out'}: {verdict.text}")
        cells = tuple(cell for cell in job.cells if verdicts[cell.id].build)
        if cells:
            jobs.append(replace(job, cells=cells))
    lookups.look_up(jobs)
    lookups.tokenizers.look_up(jobs)
    for job in jobs:
        try:
            look(job, lookups)
        except (SourceError, CalibrationError) as error:
            reporter.warning(f"{job.id}: {error}")
    return replace(plan, jobs=tuple(jobs))
