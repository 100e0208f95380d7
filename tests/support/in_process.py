"""Runs a plan with its quantizing process inside this one, so that a test can reach into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.errors import EngineError, ExitCode, QuantizerError, UsageError
from quantize_lib.executors.local_command import run_command_here
from quantize_lib.host.given_statistics import GivenStatistics
from quantize_lib.host.run_options import RunOptions
from quantize_lib.host.run_plan import run_plan
from quantize_lib.job.job_file import read_job
from quantize_lib.job.records import Reload
from quantize_lib.manifest import load_manifest
from quantize_lib.publish.base import Publisher
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.worker.run_job import run_job


def execute(job_file: Path, *, log: Path, reporter: Reporter) -> None:
    """As `executors.local.run_local` sees the process: what is wrong with cells is in the result."""
    del log  # What libraries print stays with the test.
    try:
        run_job(read_job(job_file), reporter)
    except UsageError:
        raise
    except QuantizerError as error:
        if error.exit_code != ExitCode.CELL_FAILED:
            raise
    except Exception as error:
        raise EngineError(f"the quantizing process failed (exit code 1): {error}") from error


def reload_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reload, which is other tests', say at once that all is well."""

    def reload(folder: Path, *, prompt: str, **_: Any) -> Reload:
        assert (folder / "config.json").is_file()
        return Reload(
            load_seconds=0.1,
            peak_memory_bytes=1,
            prompt=prompt,
            generated="",
            base_generated="",
            sample_tokens=0,
            sample={},
            reproduced=True,
            dtype="float32",
        )

    monkeypatch.setattr("quantize_lib.evaluate.check.check_reload", reload)
    monkeypatch.setattr("quantize_lib.evaluate.check.generate_base", lambda *_, **__: "")


def run_here(
    manifest: Path,
    output: Path,
    reporter: Reporter,
    *,
    publisher: Publisher | None = None,
    statistics: Sequence[Path] = (),
) -> tuple[ExitCode, dict[str, CellRecord]]:
    """Run a manifest; its exit code and its records by id."""
    shown: list[Sequence[CellRecord]] = []
    result = run_plan(
        load_manifest(manifest),
        RunOptions(
            output=output,
            publisher=publisher,
            execute=execute,
            command="model-quantizer run",
            log=output.parent / "log.txt",
            show=shown.append,
            run_command=run_command_here,
            statistics=GivenStatistics.find(statistics),
        ),
        reporter,
    )
    return result.code, {record.id: record for record in result.records}
