"""Everything that is known of a job before anything large is downloaded or computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from quantize_lib.architecture.assignment import format_of, stored_types, traits_of
from quantize_lib.architecture.language_model import positions
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts
from quantize_lib.command.files import command_key
from quantize_lib.command.spec import is_command_limit
from quantize_lib.errors import QuantizerError, SourceError, UsageError
from quantize_lib.harness.task_file import task_key
from quantize_lib.harness.travel import check_travels
from quantize_lib.host.libraries import without_libraries
from quantize_lib.host.lookups import Identity, Lookups
from quantize_lib.methods.common import is_automatic
from quantize_lib.metrics import SIZE_LIMIT
from quantize_lib.plan.automatic_bits import choice_of
from quantize_lib.plan.cells import CHOOSE, SMALLEST, Cell, Job
from quantize_lib.plan.estimate import JobEstimate, checkpoint_bytes, estimate_job
from quantize_lib.source import resolve_group_size
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.other_build import OtherBuild
from quantize_lib.source.tokenizer_files import tokenizer_folder
from quantize_lib.tasks import task_of
from quantize_lib.text import format_bytes
from quantize_lib.wording import joined

_SURELY = 1.1
"""The real size is within a tenth of the estimate, as the contract tests have it."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job whose model and texts are known.

    Attributes:
        facts: the base model's config and headers.
        group_sizes: resolved, by cell id.
        calibration: None where no cell's method needs any.
        evaluation: None where nothing is to be measured.
        texts: further held-out texts, by name.
        builds: other builds of the base model, to compare with.
        statistics: folders of the shards whose statistics are added; empty where the job calibrates.
        identities: by cell id.
        refused: cells that the model cannot have, or this machine cannot make, by id, with the reason; they
            are no longer in the job.
    """

    job: Job
    facts: ModelFacts
    group_sizes: Mapping[str, int]
    calibration: Texts | None
    evaluation: Texts | None
    texts: Mapping[str, Texts] = field(default_factory=dict)
    builds: tuple[OtherBuild, ...] = ()
    statistics: tuple[Path, ...] = ()
    identities: Mapping[str, Identity]
    refused: Mapping[str, QuantizerError]

    def estimate(self) -> JobEstimate:
        """What the job will cost."""
        return estimate_job(self.job, self.facts, self.group_sizes)

    def keep(self, cells: tuple[Cell, ...]) -> Prepared:
        """The same job with some of its cells."""
        return replace(self, job=replace(self.job, cells=cells))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What config, headers and tokenizer tell of a job.

    Attributes:
        job: with the cells that the model can have, and this machine make; whether the package's own
            conversations are measured is decided.
        facts: the base model's config and headers.
        group_sizes: resolved, by cell id.
        refused: the other cells, by id, with the reason.
    """

    job: Job
    facts: ModelFacts
    group_sizes: Mapping[str, int]
    refused: Mapping[str, QuantizerError]


def look(job: Job, lookups: Lookups) -> Seen:
    """Look at a job's base model and tokenizer.

    Raises:
        SourceError: where the base model, its tokenizer or another build of it cannot be used.
        UsageError: where a cell's settings or a text's length do not fit it, naming the cell or the key, or a
            task's or a test command's file is none.
        CalibrationError: where a text cannot be read, or gives tokens that the model lacks.
    """
    facts = lookups.facts(job.model)
    _check_limits(job, facts)
    for one in job.evaluate.tasks:
        task_key(one)
        if _needs_container(job):
            check_travels(one)
    if job.evaluate.command is not None:
        command_key(job.evaluate.command)
    sizes, refused = _group_sizes(job, facts)
    _check_lengths(job, facts)
    _check_sizes(job, facts, sizes)
    lookups.builds(job)
    notes = lookups.tokenizers.check(job)
    # A container brings its own libraries.
    if lookups.tokenizers.elsewhere is None and not _needs_container(job):
        refused |= without_libraries([cell for cell in job.cells if cell.id in sizes], facts)
    refused |= _refused_files(job, facts, sizes)
    # Where it is not known, the worker leaves them out.
    measured = lookups.tokenizers.has_template(job) is not False
    return Seen(
        job=replace(
            job,
            cells=tuple(cell for cell in job.cells if cell.id not in refused),
            evaluate=job.evaluate.with_conversations(measured=measured),
        ),
        facts=replace(facts, notes=(*facts.notes, *notes)),
        group_sizes={cell: size for cell, size in sizes.items() if cell not in refused},
        refused=refused,
    )


def _needs_container(job: Job) -> bool:
    """Whether the model runs in a container, or not at all."""
    return job.model.trust_remote_code or job.model.allow_pickle


def cautions(cell: Cell, facts: ModelFacts) -> tuple[str, ...]:
    """What a user should know of how a cell is stored, a sentence each."""
    return format_of(facts, cell.settings).cautions(cell.settings, traits_of(facts, cell.settings))


def check_texts(job: Job, lookups: Lookups) -> None:
    """Read the texts that lie here, as the run will; data sets are left to it.

    Raises:
        CalibrationError: where they cannot be read.
    """
    for text in (*_texts(job), *job.evaluate.texts.values()):
        for source in text.sources if text is not None else ():
            if source.dataset is None:
                lookups.texts(source)


def _texts(job: Job) -> tuple[TextSpec | None, TextSpec | None]:
    """What the job's cells are calibrated with and what is held out, as far as it needs them."""
    return job.calibration if job.calibrated else None, job.evaluate.held_out


def _check_limits(job: Job, facts: ModelFacts) -> None:
    """Refuse limits that only a model that continues text can be held to."""
    task = task_of(facts.config)
    if not task.continues and job.evaluate.tasks:
        raise SourceError(
            f"{job.model.id} is {task.words} and continues no text: tasks of lm-evaluation-harness cannot be "
            "run on it",
            hint="Give `tasks` to the models that they are meant for, under their own `evaluate`.",
        )
    if not task.continues and job.evaluate.compare_with:
        raise SourceError(
            f"{job.model.id} is {task.words} and continues no text: other builds cannot be compared with it",
            hint="Give `compare_with` to the models that it is meant for, under their own `evaluate`.",
        )
    of_text = [key for key in job.evaluate.limits if key != SIZE_LIMIT.key and not is_command_limit(key)]
    if not task.continues and of_text:
        raise SourceError(
            f"{job.model.id} is {task.words} and continues no text: {joined(of_text)} cannot be judged of it",
            hint="Give the limits to the models that they are meant for, under their own `evaluate`.",
        )


def _group_sizes(job: Job, facts: ModelFacts) -> tuple[dict[str, int], dict[str, QuantizerError]]:
    """The group size of every cell that the model can have, and why it cannot have the others."""
    sizes: dict[str, int] = {}
    refused: dict[str, QuantizerError] = {}
    problems: list[UsageError] = []
    for cell in job.cells:
        try:
            size = resolve_group_size(facts, cell.settings)
            if is_automatic(cell.settings):
                choice_of(facts, cell.settings)
            else:
                stored_types(facts, cell.settings)
            sizes[cell.id] = size
        except UsageError as error:
            problems.append(UsageError(f"{cell.id}: {error.message}", hint=error.hint))
        except SourceError as error:
            refused[cell.id] = SourceError(f"{cell.id}: {error.message}", hint=error.hint)
    if problems:
        raise UsageError("\n".join(str(problem) for problem in problems))
    return sizes, refused


def _refused_files(job: Job, facts: ModelFacts, sizes: Collection[str]) -> dict[str, SourceError]:
    """Why some cells cannot be had whose file is to hold the tokenizer as well.

    Args:
        sizes: ids of the cells that can be had so far.
    """
    asked = [(cell, format_of(facts, cell.settings)) for cell in job.cells if cell.id in sizes]
    asked = [(cell, chosen) for cell, chosen in asked if chosen.holds_tokenizer]
    # Of a tokenizer that is too large to be fetched for this the worker says it.
    folder = tokenizer_folder(job.model, facts) if asked else None
    refused: dict[str, SourceError] = {}
    for cell, chosen in asked:
        reason = None if folder is None else chosen.refuses_files(folder)
        if reason is not None:
            refused[cell.id] = SourceError(f"{cell.id}: {reason}", hint="Take another method.")
    return refused


def _check_lengths(job: Job, facts: ModelFacts) -> None:
    """Refuse sequences that are longer than the model's table of positions."""
    limit = positions(facts.config, facts.tensors)
    asked = {"evaluate.perplexity": job.evaluate.held_out if task_of(facts.config).continues else None}
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


def _check_sizes(job: Job, facts: ModelFacts, group_sizes: Mapping[str, int]) -> None:
    """Refuse cells that are sure to be larger than is allowed; a choice leaves them out when it is made."""
    limit = job.evaluate.limits.get(SIZE_LIMIT.key)
    if limit is None or job.evaluate.choose == SMALLEST:
        return
    for cell in job.cells:
        if cell.id not in group_sizes:
            continue
        size = checkpoint_bytes(cell.settings, facts, group_sizes[cell.id])
        if size > limit * _SURELY:
            raise UsageError(
                f"{cell.id}: its weights will take about {format_bytes(size)}, more than the "
                f"{format_bytes(limit)} of {SIZE_LIMIT.key}",
                hint=f"Allow more, give fewer bits, or leave the cell out. With `{CHOOSE}: {SMALLEST}` it "
                "would be passed over.",
            )


def prepare(job: Job, lookups: Lookups) -> Prepared:
    """Look at the base model, collect the texts and find out what determines each cell.

    Raises:
        SourceError, UsageError: as `look`.
        CalibrationError: as `look`, and where a data set cannot be read.
    """
    seen = look(job, lookups)
    job = seen.job
    calibration, held_out = _texts(job) if job.cells else (None, None)
    if not task_of(seen.facts.config).continues:
        held_out = None
    further = {} if held_out is None else job.evaluate.texts
    read = [text for text in (calibration, held_out, *further.values()) if text is not None]
    for source in (source for text in read for source in text.sources):
        if source.dataset is not None:
            lookups.tokenizers.check_conversations(job, source)
    return Prepared(
        job=job,
        facts=replace(seen.facts, revision=lookups.model(job.model).revision),
        group_sizes=seen.group_sizes,
        refused=seen.refused,
        calibration=None if calibration is None else lookups.texts(calibration),
        evaluation=None if held_out is None else lookups.texts(held_out),
        texts={name: lookups.texts(text) for name, text in further.items()},
        builds=() if held_out is None else lookups.builds(job),
        identities={cell.id: lookups.identity(cell, job) for cell in job.cells},
    )
