"""Runs a plan on the host's side: prepare every job, hand each to an executor, finish its cells, report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quantize_lib.architecture.assignment import format_of, left_out
from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.devices import DeviceName
from quantize_lib.effective_settings import effective_settings
from quantize_lib.errors import (
    CheckpointError,
    ErrorCode,
    ExitCode,
    PublishError,
    QuantizerError,
    SourceError,
    UsageError,
)
from quantize_lib.files import Room
from quantize_lib.formats import named_format
from quantize_lib.host.card_check import card_warnings, check_cards
from quantize_lib.host.choices import Choices
from quantize_lib.host.command_runs import CommandRuns, passed_before
from quantize_lib.host.finish import Finisher
from quantize_lib.host.job_state import JobState, sweep
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.one_job import JobRunner
from quantize_lib.host.output_folder import working_in
from quantize_lib.host.prepare import Prepared, cautions, prepare
from quantize_lib.host.provenance import provenance
from quantize_lib.host.recard import adopted, recarded
from quantize_lib.host.run_options import RunOptions, RunResult
from quantize_lib.host.siblings import Siblings
from quantize_lib.host.survey import survey
from quantize_lib.host.terms_notice import terms_warnings
from quantize_lib.host.unchanged import built_before, page_of, skipped
from quantize_lib.methods import get_method
from quantize_lib.methods.common import GROUP_SIZE, is_automatic
from quantize_lib.plan.cells import Cell, Job, Plan
from quantize_lib.plan.estimate import job_memory
from quantize_lib.plan.memory_needs import Share
from quantize_lib.plan.verdict import Verdict
from quantize_lib.report import exit_code, read_report, write_report
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Interrupted, Reporter

_ROOM_BYTES = 32_000
"""Kept for the report and its page: for each cell, and for the rest of them."""


def run_plan(plan: Plan, options: RunOptions, reporter: Reporter) -> RunResult:
    """Run every job of a plan. A cell that fails is recorded; the others go on.

    `report.json` is written in any case once the output folder is ours, also after an error or a signal. A
    bug of ours fails its job, and is raised when the others are done.

    Raises:
        UsageError: where manifest or command line ask for what cannot be, before anything is computed.
    """
    with working_in(options.output) as state:
        run = _Run(plan, options, reporter, state)
        return run.run()


class _Run:
    def __init__(self, plan: Plan, options: RunOptions, reporter: Reporter, state: Path) -> None:
        self._plan = plan
        self._options = options
        self._reporter = reporter
        self._state = state
        self._records: dict[str, CellRecord] = {}
        self._lookups = options.surveyed.lookups if options.surveyed else Lookups(reporter)
        self._lookups.tokenizers.elsewhere = options.try_tokenizer
        self._built: dict[str, CellRecord] = {}
        """What an earlier run built, by cell id."""
        self._bug: Exception | None = None
        """The first one that a job brought out."""
        self._refused = _refused(options.output)
        self._room = Room(state / "room", _ROOM_BYTES * (1 + sum(1 for _ in plan.cells())))
        self._started = datetime.now(UTC)
        publisher = options.publisher
        self._commands = CommandRuns(
            options.run_command, output=options.output, state=state, reporter=reporter
        )
        self._siblings = Siblings(
            plan, options.output, lambda name: None if publisher is None else publisher.page(name, "main")
        )
        self._finisher = Finisher(
            output=options.output,
            state=state,
            publisher=options.publisher,
            command=options.command,
            reporter=reporter,
            siblings=self._siblings,
            commands=self._commands,
            made_in=self._made_in,
            given=plan.publish.card,
            force=options.force,
        )
        self._choices = Choices(plan, options.output, self._finisher, reporter)
        self._jobs = JobRunner(
            options=options, finisher=self._finisher, choices=self._choices, reporter=reporter, state=state
        )

    def run(self) -> RunResult:
        reason, code = "not started: the run ended before its turn", ErrorCode.NOT_STARTED
        interrupted = False
        try:
            for warning in self._plan.warnings:
                self._reporter.warning(warning)
            sweep(self._state, [job.id for job in self._plan.jobs])
            verdicts = self._verdicts()
            self._choices.begin(verdicts)
            waiting = [job for job in (self._left(job, verdicts) for job in self._plan.jobs) if job.cells]
            # Those of which a cell is not skipped.
            self._commands.check(
                job for job in self._plan.jobs if any(cell.id not in self._records for cell in job.cells)
            )
            if self._options.publisher is not None:
                self._options.publisher.check([cell.repository for job in waiting for cell in job.cells])
            if self._options.store is not None and waiting:
                self._options.store.check()
            self._lookups.look_up(waiting)
            self._lookups.tokenizers.look_up(waiting)
            prepared = [job for job in map(self._prepare, waiting) if job is not None]
            for job, cell in self._plan.cells():
                if cell.id in self._built:
                    self._records[cell.id] = self._settle(self._built[cell.id], job, cell, verdicts[cell.id])
            self._choices.make(self._records)
            for one in prepared:
                title = f"{one.job.id}: {len(one.job.cells)} cells"
                with self._reporter.group(title), self._wall(one.job):
                    self._run_job(one)
                self._choices.make(self._records)
            if self._bug is not None:
                raise self._bug
        except (Interrupted, KeyboardInterrupt):
            interrupted = True
            reason, code = "interrupted", ErrorCode.INTERRUPTED
            self._reporter.error(
                "interrupted; finished cells are kept, and the same command goes on from there"
            )
        except UsageError as error:
            reason, code = str(error), error.code
            raise
        finally:
            records = tuple(self._record(job, cell, reason, code) for job, cell in self._plan.cells())
            try:
                self._room.release()
                write_report(
                    self._options.output,
                    records,
                    started=self._started,
                    finished=datetime.now(UTC),
                    command=self._options.command,
                    publish=self._plan.publish,
                    manifest=self._plan.manifest,
                )
            except OSError as error:
                raise cannot_write(self._options.output, error) from error
            finally:
                self._options.show(records)
        ended = ExitCode.INTERRUPTED if interrupted else exit_code(records)
        return RunResult(records=records, code=ended)

    def _made_in(self, device: DeviceName) -> dict[str, str]:
        image = self._options.image
        return provenance(os.environ, None if image is None else image(device))

    def _verdicts(self) -> Mapping[str, Verdict]:
        options = self._options
        if options.surveyed is not None:
            return options.surveyed.verdicts
        return survey(self._plan, options.publisher, self._lookups, self._reporter, force=options.force)

    def _record(self, job: Job, cell: Cell, reason: str, code: ErrorCode) -> CellRecord:
        return self._records.get(cell.id) or CellRecord(
            id=cell.id,
            model=job.model.id,
            revision=None,
            method=cell.settings.method,
            bits=cell.settings.bits,
            format=named_format(cell.settings).name,
            settings=effective_settings(cell.settings),
            status="failed",
            error=reason,
            code=code,
            repository=cell.repository,
            part=cell.part,
        )

    @contextmanager
    def _wall(self, job: Job) -> Iterator[None]:
        """Keep a bug of ours, which one job's input brings out, from the other jobs.

        It is raised when they are done, so that it ends the command as any bug does.
        """
        try:
            yield
        except QuantizerError:
            raise
        except Exception as error:  # noqa: BLE001
            self._bug = self._bug or error
            unfinished = tuple(cell for cell in job.cells if cell.id not in self._records)
            # What it says stands in the traceback that ends the command.
            hint = "Please report it, with the traceback at the end. The other jobs go on."
            bug = QuantizerError(f"a bug of model-quantizer: {type(error).__name__}", hint=hint)
            self._fail(job, unfinished, bug)

    def _prepare(self, job: Job) -> Prepared | None:
        with self._wall(job):
            return self._prepared(job)
        return None

    def _prepared(self, job: Job) -> Prepared | None:
        publish, publisher = self._plan.publish, self._options.publisher
        try:
            prepared = prepare(job, self._lookups)
            for cell in job.cells:
                if cell.id in prepared.refused:
                    self._fail(job, (cell,), prepared.refused[cell.id])
            job = prepared.job
            if self._options.statistics is not None:
                shards = self._options.statistics.of(job, prepared.facts.revision)
                prepared = replace(prepared, statistics=shards)
            if publisher is not None:
                check_cards(job, prepared.facts, publish, publisher)
        except UsageError:
            raise
        except QuantizerError as error:
            self._fail(job, job.cells, error)
            return None
        if not job.cells:
            return None
        # Refuse before anything is fetched; whether to spill is the quantizing process's to see.
        share: Share = "add" if prepared.statistics else "all"
        job_memory(job, prepared.facts, share).spills(self._options.max_memory)
        for warning in card_warnings(job, prepared.facts, publish):
            self._reporter.warning(warning)
        for cell in job.cells:
            self._reporter.info(f"{cell.id}: {_chosen(cell, prepared)}")
            for note in (*left_out(prepared.facts, cell.settings), *cautions(cell, prepared.facts)):
                self._reporter.warning(f"{cell.id}: {note}")
            for warning in terms_warnings(cell, prepared.facts.terms, publish):
                self._reporter.warning(warning)
        return prepared

    def _left(self, job: Job, verdicts: Mapping[str, Verdict]) -> Job:
        """The job without the cells that need not be built."""
        cells = tuple(cell for cell in job.cells if not self._is_done(job, cell, verdicts[cell.id]))
        if not cells:
            JobState(self._state, job.id).end()
        return replace(job, cells=cells)

    def _is_done(self, job: Job, cell: Cell, verdict: Verdict) -> bool:
        if "rejected" not in verdict.reasons and not self._options.force:
            built = built_before(
                cell,
                job,
                self._lookups,
                self._options.output,
                same_version=self._plan.publish.rebuild_on_new_version,
            )
            # What is published already is not tested again.
            if built is not None and (verdict.build or passed_before(built, job.evaluate)):
                self._built[cell.id] = built
                return True
        if verdict.build:
            if self._options.publisher is not None:
                self._reporter.info(f"{cell.id} is to be built: {verdict.text}")
            return False
        self._records[cell.id] = skipped(cell, job, self._lookups, verdict, self._options.publisher)
        self._reporter.info(f"{cell.id} is skipped: {verdict.text}")
        return True

    def _settle(self, built: CellRecord, job: Job, cell: Cell, verdict: Verdict) -> CellRecord:
        """Gate, publish or skip a checkpoint that an earlier run built; its card says what is so now."""
        if "not_chosen" in verdict.reasons:
            self._reporter.info(f"{built.id} is skipped: {verdict.text}")
            limits = job.evaluate.limits
            return replace(built, status="skipped", choice=None, not_chosen=verdict.text, limits=limits)
        try:
            built = self._tested(built, job, cell) if verdict.build else built
            # Other limits alone are no reason to publish a card again.
            now = self._finisher.judged(built, job.evaluate)[0] if verdict.build else built
            carded = self._carded(now, job, cell)
        except CheckpointError as error:
            self._reporter.error(f"{cell.id} failed: {error}")
            return replace(built, status="failed", error=str(error), code=error.code)
        except PublishError as error:
            self._reporter.error(f"{cell.id}: {error}")
            return replace(built, error=str(error), code=error.code)
        if carded.files != built.files:
            self._reporter.info(f"{cell.id}: the card is brought up to date; nothing is quantized for it")
        held = self._finisher.hold(carded, job.evaluate)
        if held.status == "gated" or self._choices.competes(cell.id):
            return self._choices.publish(held)
        other = carded.files != built.files or cell.id in self._refused
        if self._options.publisher is not None and (verdict.build or other):
            return self._finisher.publish(held)
        why = "unchanged" if verdict.build else verdict.text
        self._reporter.info(f"{built.id} is skipped: {why}")
        url = page_of(self._options.publisher, built.repository, verdict)
        return replace(held, status="skipped", commit=verdict.commit, url=url)

    def _tested(self, built: CellRecord, job: Job, cell: Cell) -> CellRecord:
        """The record with the test command's result, which is what an earlier run found where it passed."""
        measured = built.measurements
        if measured is None or passed_before(built, job.evaluate):
            return built
        result = self._commands.result(cell.id, job, self._options.output / cell.id)
        return replace(built, measurements=replace(measured, command=result))

    def _carded(self, built: CellRecord, job: Job, cell: Cell) -> CellRecord:
        folder = self._options.output / cell.id
        try:
            base = self._lookups.card(job.model)
        except SourceError as error:
            self._reporter.warning(f"{cell.id}: the card stays as it is: {error.message}")
            return adopted(folder, built)
        return recarded(
            folder,
            built,
            base=base,
            cell=cell,
            job=job,
            command=self._options.command,
            given=self._plan.publish.card,
            siblings=list(self._siblings.of(built, {})),
        )

    def _run_job(self, prepared: Prepared) -> None:
        try:
            self._jobs.run(prepared, self._records)
        except UsageError:
            raise
        except QuantizerError as error:
            unfinished = tuple(cell for cell in prepared.job.cells if cell.id not in self._records)
            self._fail(prepared.job, unfinished, error)

    def _fail(self, job: Job, cells: tuple[Cell, ...], error: QuantizerError) -> None:
        self._reporter.error(f"{job.id}: {error}")
        for cell in cells:
            self._records[cell.id] = self._record(job, cell, str(error), error.code)


def _refused(output: Path) -> frozenset[str]:
    """The cells that an earlier run could not publish: what is published may have an older card."""
    try:
        return frozenset(record.id for record in read_report(output) if record.code == ErrorCode.PUBLISH)
    except UsageError:
        return frozenset()


def _chosen(cell: Cell, prepared: Prepared) -> str:
    """What `auto` became: group size and format."""
    words = []
    size, method = prepared.group_sizes[cell.id], get_method(cell.settings.method)
    if is_automatic(cell.settings):
        own = "bits and group size by layer"
        words.append(own if method.width is None else f"{method.width.name} by tensor")
    elif GROUP_SIZE in method.settings:
        auto = " (auto)" if cell.settings.group_size == "auto" else ""
        words.append(("one group per row" if size == -1 else f"group size {size}") + auto)
    return ", ".join([*words, f"format {format_of(prepared.facts, cell.settings).name}"])
