"""Cells that the base model's other files forbid, found before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping

from quantize_lib.architecture.assignment import format_of
from quantize_lib.architecture.language_model import vocabulary
from quantize_lib.errors import SourceError
from quantize_lib.job.job_file import JobCell, JobFile
from quantize_lib.job.result import FailedCell
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.resume import Finished


def cells_left(
    job: JobFile, facts: ModelFacts, finished: Finished, keys: Mapping[str, str], reporter: Reporter
) -> tuple[JobCell, ...]:
    """The cells that are still to be made of a base model; those that cannot be are noted as failed.

    Args:
        finished: has those that are made, and gets those that cannot be.
        keys: by cell id, of what came of a cell.
    """
    fit: list[JobCell] = []
    for cell in job.cells:
        if cell.id in finished.cells:
            continue
        reason = format_of(facts, cell.settings).refuses_files(job.model.path, vocabulary(facts.config))
        if reason is None:
            fit.append(cell)
            continue
        error = SourceError(reason, hint="Take another method for this model.")
        finished.add(cell.id, keys[cell.id], FailedCell.of(error), None)
        reporter.info(f"{cell.id} failed, the others go on: {error}")
    return tuple(fit)
