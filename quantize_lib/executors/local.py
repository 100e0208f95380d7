"""The local executor: the job runs in a child process that holds no token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from quantize_lib.environment import clean_environment
from quantize_lib.errors import EngineError, ExitCode, UsageError
from quantize_lib.files import last_line
from quantize_lib.job.events import MAX_LINE, Relay
from quantize_lib.job.layout import RESULT_FILE
from quantize_lib.job.result import read_result
from quantize_lib.reporting import Reporter

_GRACE_SECONDS = 10.0


def run_local(job_file: Path, *, log: Path, reporter: Reporter) -> None:
    """Run one job in a child process and wait for it.

    The child speaks on its standard output (one event per line); its standard error, where libraries talk,
    goes to `log`.

    Args:
        job_file: the job's JSON.
        log: gets the child's standard error.

    Raises:
        UsageError: where the job asks for what this machine does not have.
        EngineError: where the child ended without leaving a result, with the end of its log.
    """
    command = [sys.executable, "-m", "quantize_lib", "job", str(job_file), "--events"]
    with log.open("w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_environment(),
            # Libraries leave things in the current folder (GPTQModel a `logs/`); the job's own goes with it.
            cwd=job_file.parent,
            text=True,
            encoding="utf-8",
            errors="replace",
            # A group of its own: Ctrl-C reaches us alone, and we end the child's children with it.
            start_new_session=True,
        )
        listener = threading.Thread(target=_listen, args=(child.stdout, reporter), daemon=True)
        listener.start()
        try:
            code = child.wait()
        except BaseException:
            _stop(child)
            raise
        finally:
            listener.join(timeout=_GRACE_SECONDS)
    if code == ExitCode.USAGE:
        failed = read_result(job_file.parent / RESULT_FILE).first_failed()
        raise UsageError("the quantizing process refused the job" if failed is None else failed.error)
    if code not in (ExitCode.OK, ExitCode.CELL_FAILED):
        raise EngineError(_reason(code, log), hint=_advice(code, log))


def _listen(stream: IO[str] | None, reporter: Reporter) -> None:
    if stream is None:
        return
    # A bounded read: a line without an end must not fill the memory.
    with Relay(reporter) as relay:
        while line := stream.readline(MAX_LINE):
            relay.feed(line)


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child and its children: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=_GRACE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            continue


def _reason(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"the quantizing process was ended by {name}"
    return f"the quantizing process failed (exit code {code}): {last_line(log)}"


def _advice(code: int, log: Path) -> str:
    if code == -signal.SIGKILL:
        return (
            "That is what the system does when memory runs out: take a larger machine, fewer or shorter "
            "calibration samples, or fewer cells per run (--only)."
        )
    return f"What it printed is in {log}."
