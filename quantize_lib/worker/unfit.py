"""Cells that cannot be finished because of the base model's other files, found before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quantize_lib.architecture.assignment import format_of
from quantize_lib.architecture.language_model import text_config
from quantize_lib.errors import QuantizerError
from quantize_lib.job.job_file import JobCell, JobFile
from quantize_lib.job.result import FailedCell
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.resume import Finished


def without_unfit(
    job: JobFile,
    cells: Iterable[JobCell],
    facts: ModelFacts,
    finished: Finished,
    keys: Mapping[str, str],
    reporter: Reporter,
) -> tuple[JobCell, ...]:
    """The cells that can be made of a base model; the others are noted as failed.

    Args:
        finished: gets the others.
        keys: by cell id, of what came of a cell.
    """
    fit: list[JobCell] = []
    for cell in cells:
        try:
            format_of(facts, cell.settings).check_files(job.model.path, text_config(facts.config))
        except QuantizerError as error:
            finished.add(cell.id, keys[cell.id], FailedCell.of(error), None)
            reporter.info(f"{cell.id} failed, the others go on: {error}")
        else:
            fit.append(cell)
    return tuple(fit)
