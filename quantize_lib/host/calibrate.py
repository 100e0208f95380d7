"""`calibrate`: a shard of each model's calibration text, whose statistics a later run adds up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import CheckpointError, ExitCode, QuantizerError, UsageError, error_of
from quantize_lib.host.agreement import check_agreement
from quantize_lib.host.hand_over import hand_over
from quantize_lib.host.job_state import JobState, sweep
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.output_folder import replace_folder, working_in
from quantize_lib.host.prepare import prepare
from quantize_lib.host.run_options import Executor
from quantize_lib.host.tokenizers import TryTokenizer
from quantize_lib.job.job_file import JobShard
from quantize_lib.job.layout import RESULT_FILE, STATISTICS, STATISTICS_FILE
from quantize_lib.job.result import read_result
from quantize_lib.job.statistics_record import read_record
from quantize_lib.plan.cells import Job, Plan
from quantize_lib.plan.estimate import job_memory
from quantize_lib.plan.shards import calibration_of, jobs_to_split
from quantize_lib.plan.statistics_size import statistics_bytes
from quantize_lib.reporting import Reporter
from quantize_lib.source import fetch
from quantize_lib.source.headers import INDEX

_LOG = "log.txt"


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """How to make a shard.

    Attributes:
        number, count: which shard of how many.
        output: gets a folder `JOB/NUMBER-of-COUNT` for each job that calibrates.
        execute: runs a job.
        try_tokenizer: as for a run.
        max_memory: bytes that a quantizing process may take; None for no limit.
    """

    number: int
    count: int
    output: Path
    execute: Executor
    try_tokenizer: TryTokenizer | None = None
    max_memory: int | None = None


def calibrate(plan: Plan, options: CalibrateOptions, reporter: Reporter) -> ExitCode:
    """Make a shard of every job of a plan that calibrates. A job that fails is told of; the others go on.

    Returns:
        OK, or CELL_FAILED where a job failed.

    Raises:
        UsageError: where manifest or command line ask for what cannot be.
    """
    jobs = jobs_to_split(calibration_of(plan), options.count)
    if not jobs:
        raise UsageError(
            "no method of these cells needs calibration text: there is nothing to calibrate",
            hint="Quantize them with `run` alone.",
        )
    lookups = Lookups(reporter)
    lookups.tokenizers.elsewhere = options.try_tokenizer
    # Other shards may be made beside this one.
    work = options.output / f".{options.number}-of-{options.count}"
    failed = False
    with working_in(work) as state:
        sweep(state, [job.id for job in jobs])
        lookups.look_up(jobs)
        lookups.tokenizers.look_up(jobs)
        for job in jobs:
            title = f"{job.id}: shard {options.number} of {options.count}"
            try:
                with reporter.group(title), _disk(options.output):
                    _make(job, lookups, options, work, state, reporter)
            except UsageError:
                raise
            except QuantizerError as error:
                failed = True
                reporter.error(f"{job.id}: {error}")
    return ExitCode.CELL_FAILED if failed else ExitCode.OK


@contextmanager
def _disk(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What is read has errors of its own; this is the output folder's.
        raise cannot_write(output, error) from error


def _make(
    job: Job, lookups: Lookups, options: CalibrateOptions, work: Path, state_folder: Path, reporter: Reporter
) -> None:
    prepared = prepare(job, lookups)
    for cell_id, error in prepared.refused.items():
        reporter.warning(f"{cell_id} is left out: {error}")
    job, facts = prepared.job, prepared.facts
    if not job.calibrated:
        reporter.info(f"{job.id}: nothing is left that needs calibration")
        return
    part = replace(job.calibration, samples=ceil(job.calibration.samples / options.count))
    job_memory(replace(job, calibration=part), facts, "collect").spills(options.max_memory)
    check_agreement(job.model, facts)
    source = fetch(job.model, facts, reporter, token=None)
    state = JobState(state_folder, job.id)
    keep = True
    try:
        state.begin([STATISTICS])
        shard = JobShard(number=options.number, count=options.count, size=statistics_bytes(facts))
        job_file = hand_over(prepared, source, state.folder, max_memory=options.max_memory, shard=shard)
        options.execute(job_file, log=work / _LOG, reporter=reporter)
        _take(job, options, state.folder, state_folder)
        keep = False
    except CheckpointError:
        # From what cannot be a result nothing better would come.
        keep = False
        raise
    finally:
        state.end(keep=keep)


def _take(job: Job, options: CalibrateOptions, folder: Path, state: Path) -> None:
    """Put what a process left in its place.

    Raises:
        QuantizerError: what it failed of.
        CheckpointError: where it left something else than a shard.
    """
    failure = read_result(folder / RESULT_FILE).first_failed()
    if failure is not None:
        raise error_of(failure.code, failure.error)
    made = folder / STATISTICS
    record = read_record(made)
    if (record.number, record.count) != (options.number, options.count):
        raise CheckpointError(f"the quantizing process left another shard of {job.id} than was asked for")
    known = {STATISTICS_FILE, INDEX, *record.files}
    for entry in made.iterdir():
        if entry.name not in known or entry.is_symlink() or not entry.is_file():
            raise CheckpointError(f"the quantizing process left something else than statistics: {entry.name}")
    target = options.output / job.id / f"{options.number}-of-{options.count}"
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(made, target, state)
