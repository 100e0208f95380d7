"""Runs the manifest's test command on finished checkpoints; a command that passed is not run again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.command.files import command_key
from quantize_lib.command.question import CommandAnswer
from quantize_lib.command.spec import COMMAND, CommandResult, CommandSpec
from quantize_lib.devices import DeviceName
from quantize_lib.errors import EngineError, UsageError
from quantize_lib.files import last_line, remove_tree
from quantize_lib.plan.cells import EvaluateSpec, Job
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.text import format_duration, plain


class RunCommand(Protocol):
    """Runs a command where the executor's jobs run.

    Args:
        checkpoint: None only to look for the program.
        device: of the checkpoint's job.
        work: an empty folder for it, which the caller removes.
        log: gets everything that it prints.

    Raises:
        CheckpointError: where it changed the checkpoint.
        EngineError: where it could not be run.
        UsageError: where its files cannot be read or copied.
        OSError: where the disk takes no more.
    """

    def __call__(
        self,
        spec: CommandSpec,
        checkpoint: Path | None,
        *,
        device: DeviceName,
        work: Path,
        log: Path,
        reporter: Reporter,
    ) -> CommandAnswer: ...


class CommandRuns:
    """The commands of a run.

    Args:
        run: None where nothing runs commands; then none is run.
        output: the run's output folder, which gets their logs.
        state: its `.state`.
    """

    def __init__(self, run: RunCommand | None, *, output: Path, state: Path, reporter: Reporter) -> None:
        self._run = run
        self._output = output
        self._state = state
        self._reporter = reporter

    def check(self, jobs: Iterable[Job]) -> None:
        """See that the programs are there, before anything is downloaded or computed.

        Raises:
            UsageError: naming the one that is not, or a file that cannot be read.
            EngineError: where it cannot be found out.
            CheckpointError: where the output folder cannot be written.
        """
        asked = ((job.evaluate.command, job.device) for job in jobs)
        for spec, device in {(spec, device) for spec, device in asked if spec is not None}:
            if self._run is None:
                return
            log = self._state / "test.log"
            try:
                answer = self._answer(self._run, spec, None, device, log)
            except OSError as error:
                raise cannot_write(self._output, error) from error
            log.unlink(missing_ok=True)
            if answer.problem is not None:
                raise UsageError(
                    f"evaluate.{COMMAND}: it {plain(answer.problem)}",
                    hint="It is looked for where checkpoints are made: on PATH there, or, as ./NAME, among "
                    "`files`.",
                )

    def result(self, cell_id: str, job: Job, checkpoint: Path) -> CommandResult | None:
        """Run the job's command on a checkpoint; None where there is none.

        Raises:
            CheckpointError: where it changed the checkpoint.
        """
        spec = job.evaluate.command
        if spec is None or self._run is None:
            return None
        log = log_file(self._output, cell_id)
        self._reporter.info(f"{cell_id}: the test command runs; what it prints is in {log.name}")
        answer, key = CommandAnswer(), ""
        try:
            key = command_key(spec)
            answer = self._answer(self._run, spec, checkpoint, job.device, log)
            problem = answer.problem
        except (EngineError, UsageError) as error:
            problem = f"could not be run: {error.message}"
        except OSError as error:
            problem = f"could not be run: {error.strerror or error}"
        if problem is None and answer.exit_code != 0:
            problem = f"ended with exit code {answer.exit_code} ({last_line(log)})"
        result = CommandResult(
            exit_code=answer.exit_code,
            fault=None if problem is None else plain(problem),
            figures=answer.figures,
            seconds=answer.seconds,
            key=key,
        )
        took = format_duration(result.seconds)
        figures = "".join(f", {name} {value:.6g}" for name, value in result.figures.items())
        self._reporter.info(f"{cell_id}: the test command {result.fault or 'passed'} ({took}){figures}")
        return result

    def _answer(
        self, run: RunCommand, spec: CommandSpec, checkpoint: Path | None, device: DeviceName, log: Path
    ) -> CommandAnswer:
        work = Path(tempfile.mkdtemp(dir=self._state, prefix="test-"))
        try:
            return run(spec, checkpoint, device=device, work=work, log=log, reporter=self._reporter)
        finally:
            remove_tree(work)


def log_file(output: Path, cell_id: str) -> Path:
    """Where what a cell's command printed is kept."""
    return output / f"{cell_id}.test.log"


def passed_before(record: CellRecord, evaluate: EvaluateSpec) -> bool:
    """Whether a checkpoint has the result of the command that is asked for, on these files.

    One that did not pass is run again: what it lacked may be there now.

    Raises:
        UsageError: where the command's files cannot be read.
    """
    result = None if record.measurements is None else record.measurements.command
    if evaluate.command is None or result is None:
        return evaluate.command is None and result is None
    return result.fault is None and result.key == command_key(evaluate.command)
