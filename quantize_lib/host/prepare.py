"""Everything that is known of a job before anything large is downloaded or computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantize_lib.architecture.families import positions
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts
from quantize_lib.errors import UsageError
from quantize_lib.host.lookups import Identity, Lookups
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.plan.estimate import JobEstimate, estimate_job
from quantize_lib.source import resolve_group_size
from quantize_lib.source.facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job whose model and texts are known.

    Attributes:
        facts: the base model's config and headers.
        group_sizes: resolved, by cell id.
        calibration: None where no cell's method needs any.
        evaluation: None where nothing is to be measured.
        identities: by cell id.
    """

    job: Job
    facts: ModelFacts
    group_sizes: Mapping[str, int]
    calibration: Texts | None
    evaluation: Texts | None
    identities: Mapping[str, Identity]

    def estimate(self) -> JobEstimate:
        """What the job will cost."""
        return estimate_job(self.job, self.facts, self.group_sizes)

    def keep(self, cells: tuple[Cell, ...]) -> Prepared:
        """The same job with some of its cells."""
        return replace(self, job=replace(self.job, cells=cells))


def look(job: Job, lookups: Lookups) -> tuple[ModelFacts, dict[str, int]]:
    """The base model's facts and the group size of every cell, from config, headers and tokenizer alone.

    Raises:
        SourceError: where the base model or its tokenizer cannot be used.
        UsageError: where a cell's settings or a text's length do not fit it, naming the cell or the key.
        CalibrationError: where a text cannot be read, or gives tokens that the model lacks.
    """
    facts = lookups.facts(job.model)
    sizes = _group_sizes(job, facts)
    _check_lengths(job, facts)
    notes = lookups.tokenizers.check(job)
    return replace(facts, notes=(*facts.notes, *notes)), sizes


def check_texts(job: Job, lookups: Lookups) -> None:
    """Read the texts that lie here, as the run will; data sets are left to it.

    Raises:
        CalibrationError: where they cannot be read.
    """
    for text in _texts(job):
        if text is not None and text.dataset is None:
            lookups.texts(text)


def _texts(job: Job) -> tuple[TextSpec | None, TextSpec | None]:
    """What the job's cells are calibrated with and what is held out, as far as it needs them."""
    return job.calibration if job.calibrated else None, job.evaluate.held_out


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


def _check_lengths(job: Job, facts: ModelFacts) -> None:
    """Refuse sequences that are longer than the model's table of positions."""
    limit = positions(facts.config)
    asked = {"evaluate.perplexity": job.evaluate.held_out}
    if job.calibrated:
        asked = {"calibration": job.calibration, **asked}
    for key, text in asked.items():
        if text is not None and limit is not None and text.sequence_length > limit:
            fits = f"`sequence_length: {limit}` or less"
            raise UsageError(
                f"{job.model.id}: {key}.sequence_length is {text.sequence_length}, and the model has {limit} "
                "positions",
                # The form for one model has no word for the length, and no manifest.
                hint=f"Write a manifest with {fits}."
                if text.allow_short
                else f"Write {fits} in the manifest.",
            )


def prepare(job: Job, lookups: Lookups) -> Prepared:
    """Look at the base model, collect the texts and find out what determines each cell.

    Raises:
        SourceError, UsageError: as `look`.
        CalibrationError: as `look`, and where a data set cannot be read.
    """
    facts, sizes = look(job, lookups)
    calibration, held_out = _texts(job)
    return Prepared(
        job=job,
        facts=replace(facts, revision=lookups.model(job.model).revision),
        group_sizes=sizes,
        calibration=None if calibration is None else lookups.texts(calibration),
        evaluation=None if held_out is None else lookups.texts(held_out),
        identities={cell.id: lookups.identity(cell, job) for cell in job.cells},
    )
