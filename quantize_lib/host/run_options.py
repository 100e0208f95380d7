"""What a run is asked for beside its plan, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quantize_lib.devices import DeviceName
from quantize_lib.errors import ExitCode
from quantize_lib.host.command_runs import RunCommand
from quantize_lib.host.given_statistics import GivenStatistics
from quantize_lib.host.survey import Surveyed
from quantize_lib.host.tokenizers import TryTokenizer
from quantize_lib.kept_state.base import Store
from quantize_lib.publish.base import Publisher
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter


class Executor(Protocol):
    """Runs one job and returns when it is done; the result lies beside the job file."""

    def __call__(self, job_file: Path, *, log: Path, reporter: Reporter) -> None: ...


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a plan.

    Attributes:
        output: the output folder.
        publisher: None where nothing is published.
        execute: runs a job.
        command: the command line that makes the same again, for report and cards.
        log: gets what the libraries of the quantizing process print.
        try_tokenizer: tries one where this process has no library that loads it; None where there is no such
            place, or no need.
        store: where the state of unfinished jobs is kept beside the output folder; None where it is not.
        run_command: runs test commands; None where none is asked for.
        image: the container's image for a device, with its digest; None where there is no container.
        force: build every cell, whatever was built or published before.
        surveyed: where the plan was compared with what is published already; done here otherwise.
        statistics: made before, by shards of the calibration text; None where the run calibrates.
        show: is called with the records in the plan's order once the report is written, also after an error
            or a signal.
    """

    output: Path
    publisher: Publisher | None
    execute: Executor
    command: str
    log: Path
    show: Callable[[Sequence[CellRecord]], None]
    image: Callable[[DeviceName], str] | None = None
    force: bool = False
    surveyed: Surveyed | None = None
    try_tokenizer: TryTokenizer | None = None
    run_command: RunCommand | None = None
    store: Store | None = None
    max_memory: int | None = None
    statistics: GivenStatistics | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What came of a run: the records in the plan's order, and the exit code."""

    records: tuple[CellRecord, ...]
    code: ExitCode
