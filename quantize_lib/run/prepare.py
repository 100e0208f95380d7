"""Everything that is known of a job before anything large is downloaded or computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantize_lib.calibration.texts import Texts, collect_texts
from quantize_lib.errors import UsageError
from quantize_lib.manifest.schema import is_calibrated
from quantize_lib.plan import fingerprint
from quantize_lib.plan.estimate import JobEstimate, estimate_job
from quantize_lib.source import inspect, read_facts, resolve_group_size
from quantize_lib.types import Cell, Job, ModelFacts, Reporter


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job whose model and texts are known.

    Attributes:
        facts: the base model's config and headers.
        group_sizes: resolved, by cell id.
        calibration: None where no cell's method needs any.
        evaluation: None where nothing is to be measured.
        fingerprints: by cell id.
    """

    job: Job
    facts: ModelFacts
    group_sizes: Mapping[str, int]
    calibration: Texts | None
    evaluation: Texts | None
    fingerprints: Mapping[str, str]

    def estimate(self) -> JobEstimate:
        """What the job will cost."""
        return estimate_job(self.job, self.facts, self.group_sizes)

    def keep(self, cells: tuple[Cell, ...]) -> Prepared:
        """The same job with some of its cells."""
        return replace(self, job=replace(self.job, cells=cells))


def look(job: Job) -> tuple[ModelFacts, dict[str, int]]:
    """The base model's facts and the group size of every cell, from config and headers alone.

    A local folder is not hashed, so its `revision` is empty: that takes longer than everything else here.

    Raises:
        SourceError: where the base model cannot be used.
        UsageError: where a cell's settings do not fit it, naming the cell.
    """
    model = job.model
    local = model.local
    facts = inspect(model, token=None) if local is None else read_facts(model, local, revision="")
    return facts, _group_sizes(job, facts)


def _group_sizes(job: Job, facts: ModelFacts) -> dict[str, int]:
    sizes: dict[str, int] = {}
    problems: list[UsageError] = []
    for cell in job.cells:
        try:
            sizes[cell.id] = resolve_group_size(facts, cell.settings)
        except UsageError as error:
            problems.append(UsageError(f"{cell.id}: {error.message}", hint=error.hint))
    if problems:
        raise UsageError("\n".join(str(problem) for problem in problems))
    return sizes


def prepare(job: Job, reporter: Reporter) -> Prepared:
    """Look at the base model, collect the texts and compute the fingerprints.

    Raises:
        SourceError, UsageError: as `look`.
        CalibrationError: where the texts cannot be read.
    """
    facts = inspect(job.model, token=None, reporter=reporter)
    sizes = _group_sizes(job, facts)
    calibrated = any(is_calibrated(cell.settings.method) for cell in job.cells)
    calibration = collect_texts(job.calibration, token=None) if calibrated else None
    held_out = job.evaluate.perplexity
    evaluation = None if held_out is None else collect_texts(held_out, token=None)
    return Prepared(
        job=job,
        facts=facts,
        group_sizes=sizes,
        calibration=calibration,
        evaluation=evaluation,
        fingerprints={
            cell.id: fingerprint(
                cell,
                job,
                model_revision=facts.revision,
                calibration_revision="" if calibration is None else calibration.revision,
            )
            for cell in job.cells
        },
    )
