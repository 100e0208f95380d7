"""Which cells need not be made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quantize_lib import __version__
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import CalibrationError, PublishError, SourceError
from quantize_lib.harness.task_file import task_key
from quantize_lib.host.earlier import earlier_record
from quantize_lib.host.finish import blank_record
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.recard import files_as_they_lie
from quantize_lib.job.records import TextRecord
from quantize_lib.plan.cells import CONVERSATIONS, Cell, EvaluateSpec, Job
from quantize_lib.plan.verdict import Verdict
from quantize_lib.publish.base import Publisher
from quantize_lib.publish.verify import verify_checkpoint
from quantize_lib.report.records import CellRecord


def built_before(
    cell: Cell, job: Job, lookups: Lookups, output: Path, *, same_version: bool
) -> CellRecord | None:
    """The earlier record, where its checkpoint is what this run would make and measure, byte for byte.

    Args:
        same_version: whether another version of this tool makes something else.
    """
    earlier = earlier_record(cell.id, output)
    if earlier is None or earlier.path is None:
        return None
    if same_version and earlier.versions.get("model-quantizer") != __version__:
        return None
    try:
        identity = lookups.identity(cell, job)
        if earlier.fingerprint != identity.fingerprint:
            return None
        if not _measured_alike(earlier, job.evaluate, lookups) or not _same_tasks(earlier, job):
            return None
        # Who corrected the card need not have the checkpoint made again.
        verify_checkpoint(output / earlier.path, files_as_they_lie(output / earlier.path, earlier.files))
    except (SourceError, CalibrationError, PublishError):
        # What cannot be looked at is reported when it is to be built.
        return None
    return replace(earlier, repository=cell.repository, part=cell.part, terms=identity.model.terms)


def skipped(
    cell: Cell, job: Job, lookups: Lookups, verdict: Verdict, publisher: Publisher | None
) -> CellRecord:
    """The record of a cell that is not to be built, because of what is published.

    Args:
        publisher: which published or proposed it.
    """
    record = blank_record(cell, job, lookups.identity(cell, job))
    if "not_chosen" in verdict.reasons:
        return replace(record, status="skipped", not_chosen=verdict.text)
    notes = () if "unchanged" in verdict.reasons else (verdict.text,)
    return replace(
        record,
        status="skipped",
        commit=verdict.commit,
        url=page_of(publisher, cell.repository, verdict),
        notes=notes,
    )


def page_of(publisher: Publisher | None, repository: str | None, verdict: Verdict) -> str | None:
    """Where a person sees what is published or proposed; None where nothing is, or there is no such place."""
    if verdict.url is not None:
        return verdict.url
    if publisher is None or repository is None or verdict.commit is None:
        return None
    return publisher.page(repository, verdict.commit)


def _same_tasks(earlier: CellRecord, job: Job) -> bool:
    measured = {} if earlier.measurements is None else earlier.measurements.tasks
    wanted = {task.id: task_key(task) for task in job.evaluate.tasks}
    return {name: figure.key for name, figure in measured.items()} == wanted


def _measured_alike(earlier: CellRecord, evaluate: EvaluateSpec, lookups: Lookups) -> bool:
    measured = earlier.measurements
    texts = {} if measured is None else measured.texts
    first = None if measured is None else measured.evaluation
    wanted, own = evaluate.texts, evaluate.conversations
    # Whether they fit the model is not known here; who left them out would leave them out again.
    if own is not None and (CONVERSATIONS in texts or not own.optional):
        wanted = {**wanted, CONVERSATIONS: own}
    return (
        _same_text(first, evaluate.held_out, lookups)
        and texts.keys() == wanted.keys()
        and all(_same_text(texts[name].text, spec, lookups) for name, spec in wanted.items())
    )


def _same_text(measured: TextRecord | None, spec: TextSpec | None, lookups: Lookups) -> bool:
    if spec is None or measured is None:
        return spec is None and measured is None
    return (
        measured.revision == lookups.text_revision(spec)
        and measured.sequence_length == spec.sequence_length
        and (measured.samples == spec.samples or measured.short)
        and [
            (part.chat_template_kwargs, None if part.short else part.samples)
            for part in measured.parts or (measured,)
        ]
        == [
            (dict(source.chat_template_kwargs), None if part.short else source.samples)
            for source, part in zip(spec.sources, measured.parts or (measured,), strict=False)
        ]
    )
