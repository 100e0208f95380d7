"""From what the quantizing process left to a checked, carded and published checkpoint, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantize_lib.architecture.kept import by_reason
from quantize_lib.architecture.placing import open_question
from quantize_lib.card import quality_beside, render_card
from quantize_lib.devices import DeviceName
from quantize_lib.effective_settings import effective_settings
from quantize_lib.errors import CheckpointError, ErrorCode, PublishError, QuantizerError
from quantize_lib.files import sha256_file, write_json, write_text
from quantize_lib.formats import named_format
from quantize_lib.gate import check_gate, judge_limits
from quantize_lib.host.command_runs import CommandRuns
from quantize_lib.host.lookups import Identity
from quantize_lib.host.output_folder import replace_folder
from quantize_lib.host.prepare import Prepared
from quantize_lib.host.published_before import published_before
from quantize_lib.host.set_aside import set_aside
from quantize_lib.host.siblings import Siblings
from quantize_lib.host.terms_notice import add_notice
from quantize_lib.job.records import TextRecord
from quantize_lib.job.result import FailedCell, JobResult, QuantizedCell
from quantize_lib.methods import get_method
from quantize_lib.metrics import Outcome
from quantize_lib.plan.cells import SMALLEST, Cell, EvaluateSpec, Job
from quantize_lib.publish.base import Origin, Publisher
from quantize_lib.publish.verify import check_files
from quantize_lib.report import checkpoint_record
from quantize_lib.report.records import (
    CARD_FILE,
    PICTURE_FILE,
    RECORD_FILE,
    CellRecord,
    Measurements,
    TextFigures,
)
from quantize_lib.reporting import Reporter
from quantize_lib.source import name_warning, side_files, with_given
from quantize_lib.source.facts import ModelSource
from quantize_lib.text import format_bytes

CARD_HINT = (
    "Say what is meant under publish.card in the manifest (license, license_name, license_link, language), "
    "or correct the base model's card or the checkpoint's README.md; then give the same command again. "
    "Nothing is quantized again."
)
_NOTHING_SAID = FailedCell(error="the quantizing process says nothing of it", code=ErrorCode.ENGINE)


@dataclass(frozen=True, kw_only=True)
class Finisher:
    """Finishes the cells of a run.

    Attributes:
        output: the run's output folder.
        state: its `.state`.
        publisher: None where the run does not publish.
        command: how to make the checkpoint again, for the card.
        siblings: finds the other cells of a cell's model.
        commands: runs the test command on a checkpoint.
        made_in: where a job on a device is computed, for report and card.
        given: the manifest's `publish.card`.
        force: publish also what was taken back by a rollback.
    """

    output: Path
    state: Path
    publisher: Publisher | None
    command: str
    reporter: Reporter
    siblings: Siblings
    commands: CommandRuns
    made_in: Callable[[DeviceName], Mapping[str, str]] = lambda _device: {}
    given: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False

    def finish(
        self, cell: Cell, prepared: Prepared, source: ModelSource, folder: Path, result: JobResult
    ) -> CellRecord:
        """Check, card and gate what the quantizing process left of one cell; `publish` is the next step.

        Args:
            folder: where it left the cells' folders.
            result: its answer.
        """
        record = blank_record(cell, prepared.job, prepared.identities[cell.id])
        quantized = result.cells.get(cell.id, _NOTHING_SAID)
        if isinstance(quantized, FailedCell):
            return replace(
                record,
                status="failed",
                error=quantized.error,
                code=quantized.code,
                versions=result.versions,
            )
        checkpoint_dir = folder / cell.id
        try:
            code = _foreign_code(checkpoint_dir, source) if prepared.job.model.trust_remote_code else ()
            check_files(checkpoint_dir, code=code)
        except QuantizerError as error:
            return replace(
                record,
                status="failed",
                error=str(error),
                code=ErrorCode.CHECKPOINT,
                versions=result.versions,
            )
        record = replace(
            record, format=quantized.format, settings={**record.settings, **_resolved(quantized)}
        )
        versions = quantized.versions or result.versions
        if quantized.failure is not None:
            marked = replace(record, versions=versions, notes=_notes(quantized, prepared))
            return set_aside(marked, quantized.failure, checkpoint_dir, self.output, self.state, code=code)
        try:
            tested = self.commands.result(cell.id, prepared.job, checkpoint_dir)
        except CheckpointError as error:
            return replace(record, status="failed", error=str(error), code=error.code, versions=versions)
        terms = with_given(prepared.facts.terms, self.given)
        add_notice(checkpoint_dir, terms)
        fault = name_warning(terms, cell.repository)
        record = replace(
            record,
            status="built",
            terms=terms,
            path=cell.id,
            calibration=result.calibration if prepared.calibration else None,
            measurements=replace(_measurements(quantized, result, prepared, cell), command=tested),
            versions=versions,
            notes=(*_notes(quantized, prepared), *([fault] if fault else [])),
            layers=quantized.layers,
            types=quantized.types,
            layer_errors=quantized.errors,
            kept={why: tuple(names) for why, names in by_reason(prepared.facts.kept).items()},
            provenance=self.made_in(prepared.job.device),
        )
        record, _ = self.judged(record, prepared.job.evaluate)
        siblings = list(self.siblings.of(record, _made(result, prepared)))
        card = render_card(
            record,
            source=source,
            cell=cell,
            job=prepared.job,
            command=self.command,
            given=self.given,
            siblings=siblings,
            picture=_draw(checkpoint_dir / PICTURE_FILE, record, siblings),
        )
        write_text(checkpoint_dir / CARD_FILE, card)
        record = replace(
            record,
            files={
                name: sha256_file(checkpoint_dir / name) for name in check_files(checkpoint_dir, code=code)
            },
        )
        write_json(checkpoint_dir / RECORD_FILE, checkpoint_record(record))
        # The record cannot hold its own hash; the run's report does.
        record = replace(
            record, files={**record.files, RECORD_FILE: sha256_file(checkpoint_dir / RECORD_FILE)}
        )
        replace_folder(checkpoint_dir, self.output / cell.id, self.state)
        return self.hold(record, prepared.job.evaluate)

    def hold(self, record: CellRecord, spec: EvaluateSpec) -> CellRecord:
        """Compare a checkpoint with its gate: `built` where it meets it, else `gated`."""
        record, missed = self.judged(record, spec)
        for verdict in record.verdicts:
            if verdict.outcome is Outcome.MET_WITHIN_ERROR:
                self.reporter.info(f"{record.id}: {verdict.text}")
        if missed and spec.choose == SMALLEST:
            # Not worth a warning: that some miss the limits is what there is a choice for.
            self.reporter.info(f"{record.id} misses its gate: {'; '.join(missed)}")
            return _gated(record, missed)
        if missed:
            return gated(record, missed, self.reporter)
        return replace(record, status="built", error=None, code=None)

    def judged(self, record: CellRecord, spec: EvaluateSpec) -> tuple[CellRecord, tuple[str, ...]]:
        """The record with its limits and how each was judged; and why the gate is missed, if it is."""
        record = replace(record, limits=spec.limits, verdicts=())
        if record.measurements is None:
            return record, ()
        before = published_before(self.publisher, record)
        verdicts = judge_limits(record.measurements, spec.limits, before)
        return replace(record, verdicts=verdicts), check_gate(record.measurements, spec.limits, before)

    def publish(self, record: CellRecord) -> CellRecord:
        """Publish a built checkpoint; where that fails it stays `built`, with the error."""
        if self.publisher is None:
            return record
        try:
            return publish_checkpoint(self.publisher, self.output, record, self.reporter, force=self.force)
        except PublishError as error:
            self.reporter.error(f"{record.id}: {error}")
            return replace(record, error=str(error), code=error.code)


def gated(record: CellRecord, missed: Sequence[str], reporter: Reporter) -> CellRecord:
    """The record of a checkpoint that missed its gate, which is reported."""
    reporter.warning(f"{record.id} is not published: {'; '.join(missed)}")
    return _gated(record, missed)


def _gated(record: CellRecord, missed: Sequence[str]) -> CellRecord:
    return replace(record, status="gated", error="; ".join(missed), code=ErrorCode.GATE)


def publish_checkpoint(
    publisher: Publisher, output: Path, record: CellRecord, reporter: Reporter, *, force: bool = False
) -> CellRecord:
    """Publish one checkpoint of an output folder; the publisher checks its files against their hashes.

    Args:
        reporter: gets a message before, as an upload can take long, and after.
        force: also one that was taken back by a rollback.

    Raises:
        PublishError: where files are missing, added or changed, or it cannot be published.
    """
    if record.path is None or record.repository is None:
        raise PublishError(f"{record.id} has no checkpoint to publish")
    folder = output / record.path
    # Asked here before gigabytes are sent.
    refusal = _refusal(publisher, folder / CARD_FILE)
    if refusal is not None:
        raise PublishError(f"{record.repository}: {CARD_FILE} is not taken: {refusal}", hint=CARD_HINT)
    reporter.info(f"{record.id}: publishing {_amount(folder)} as {record.repository}")
    done = publisher.publish(
        folder,
        record.repository,
        part=record.part,
        fingerprint=record.fingerprint or "",
        message=f"Quantize {record.model} with {record.method}, {record.width}",
        origin=Origin(model=record.model, revision=record.revision, terms=record.terms),
        force=force,
    )
    for note in done.notes:
        reporter.warning(f"{record.id}: {note}")
    notes = (*record.notes, *done.notes)
    if done.proposal is not None:
        reporter.info(f"{record.id} is in a pull request that waits to be merged: {done.proposal}")
        told = replace(record, status="built", error=None, code=None, notes=notes)
        return replace(told, commit=done.commit, url=done.proposal)
    url = publisher.page(record.repository, done.commit)
    reporter.info(f"{record.id} is published: {url or f'{record.repository} at {done.commit}'}")
    told = replace(record, status="published", error=None, code=None, notes=notes)
    return replace(told, commit=done.commit, url=url)


def _refusal(publisher: Publisher, card: Path) -> str | None:
    """What the target says against a checkpoint's card; a card that is no file is told with all files."""
    if card.is_symlink() or not card.is_file():
        return None
    return publisher.refusal(card.read_text(encoding="utf-8", errors="replace"))


def blank_record(cell: Cell, job: Job, identity: Identity | None) -> CellRecord:
    """What is known of a cell before it is quantized.

    Args:
        identity: None where nothing is looked up that takes long.
    """
    return CellRecord(
        id=cell.id,
        model=job.model.id,
        revision=None if identity is None else identity.model.revision,
        method=cell.settings.method,
        bits=cell.settings.bits,
        format=named_format(cell.settings).name,
        settings=effective_settings(cell.settings),
        status="failed",
        repository=cell.repository,
        part=cell.part,
        fingerprint=None if identity is None else identity.fingerprint,
        inputs={} if identity is None else identity.inputs,
        fingerprinted={} if identity is None else identity.fingerprinted,
        terms=None if identity is None else identity.model.terms,
        limits=job.evaluate.limits,
    )


def _amount(folder: Path) -> str:
    """How much there is in a folder that may not even be there."""
    sizes = [path.lstat().st_size for path in folder.rglob("*")]
    return f"{len(sizes)} files, {format_bytes(sum(sizes))},"


def _foreign_code(checkpoint_dir: Path, source: ModelSource) -> tuple[str, ...]:
    """The base model's Python files that a checkpoint carries along, unchanged.

    Raises:
        PublishError: where one of them was changed by what ran in the container.
    """
    files = {path.name: path for path in side_files(source.folder, code=True) if path.suffix == ".py"}
    for name, original in files.items():
        copy = checkpoint_dir / name
        if copy.is_file() and not copy.is_symlink() and sha256_file(copy) != sha256_file(original):
            raise PublishError(f"{checkpoint_dir.name}: {name} is not the base model's file")
    return tuple(files)


def _notes(quantized: QuantizedCell, prepared: Prepared) -> tuple[str, ...]:
    """What is worth knowing of a cell: of a Hub model the quantizing process sees but what was downloaded."""
    facts = prepared.facts
    known = {*quantized.notes, *open_question(facts.config, facts.tensors)}
    return (*(note for note in facts.notes if note not in known), *quantized.notes)


def _resolved(quantized: QuantizedCell) -> dict[str, Any]:
    return {} if quantized.group_size is None else {"group_size": quantized.group_size}


def _draw(path: Path, record: CellRecord, siblings: Sequence[CellRecord]) -> bool:
    """Draw the card's picture, in the place of whatever lies there; whether there is one."""
    picture = quality_beside(record, siblings)
    if picture is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(picture.png())
    return picture is not None


def _made(result: JobResult, prepared: Prepared) -> dict[str, CellRecord]:
    """What is known of a job's checkpoints before they are finished one by one, by cell id."""
    return {
        cell.id: replace(
            blank_record(cell, prepared.job, prepared.identities[cell.id]),
            status="built",
            measurements=_measurements(quantized, result, prepared, cell),
        )
        for cell in prepared.job.cells
        if isinstance(quantized := result.cells.get(cell.id), QuantizedCell) and quantized.failure is None
    }


def _measurements(
    quantized: QuantizedCell, result: JobResult, prepared: Prepared, cell: Cell
) -> Measurements:
    def of_cell(text: TextRecord) -> TextRecord:
        """What the calibration text has in common with it says nothing of a cell that is not calibrated."""
        return text if get_method(cell.settings.method).calibrated else replace(text, shared=0)

    return Measurements(
        size_before=prepared.facts.weight_bytes,
        size_after=quantized.size_after,
        seconds=quantized.seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        figures=quantized.figures,
        evaluation=None if result.evaluation is None else of_cell(result.evaluation),
        tasks=quantized.tasks,
        texts={
            name: TextFigures(text=of_cell(result.texts[name]), figures=quantized.texts.get(name, {}))
            for name in prepared.texts
            if name in result.texts
        },
        builds=result.builds,
        reload=quantized.reload,
    )
