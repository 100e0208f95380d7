"""Runs a test command: in this process's place with the local executor, in a container with the other."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from quantize_lib.command.figures import FiguresError, read_figures
from quantize_lib.command.question import CommandAnswer, CommandQuestion
from quantize_lib.environment import command_environment
from quantize_lib.files import read_json, write_json
from quantize_lib.process_group import end_group
from quantize_lib.text import format_bytes

CHECKPOINT_VARIABLE = "MODEL_QUANTIZER_CHECKPOINT"
FIGURES_VARIABLE = "MODEL_QUANTIZER_FIGURES"
MAX_LOG = 64 * 2**20
"""Bytes that it may print."""
_POLL_SECONDS = 0.5


def answer_question(question_file: Path, answer_file: Path) -> None:
    """Answer a question, file by file, with the command's output on our standard error."""
    question = CommandQuestion.from_json(read_json(question_file))
    write_json(answer_file, run_command(question, sys.stderr.buffer).to_json())


def run_command(question: CommandQuestion, output: IO[bytes]) -> CommandAnswer:
    """Run a command, and end everything that is left of it and its children's process group.

    Args:
        output: a file with a descriptor, which gets everything that it prints.
    """
    environment = command_environment()
    problem = _missing(question.words[0], question.folder, environment.get("PATH"))
    if problem is not None or question.checkpoint is None:
        return CommandAnswer(problem=problem)
    environment[CHECKPOINT_VARIABLE] = str(question.checkpoint)
    environment[FIGURES_VARIABLE] = str(question.figures)
    words = [
        word.replace("{checkpoint}", str(question.checkpoint)).replace("{figures}", str(question.figures))
        for word in question.words
    ]
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            words,
            cwd=question.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that what it starts is ended with it.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return CommandAnswer(problem=f"cannot be started: {question.words[0]}: {why}")
    try:
        problem = _wait(process, question.timeout, output)
    finally:
        end_group(process)
    seconds = time.monotonic() - started
    return _answer(process.returncode, problem, question.figures, seconds)


def _missing(program: str, folder: Path, path: str | None) -> str | None:
    """Why a program cannot be started; None where it can."""
    if "/" not in program:
        if shutil.which(program, path=path) is not None:
            return None
        here = f"; a file of `files` is ./{program}" if (folder / program).is_file() else ""
        return f"cannot be started: there is no program {program}{here}"
    file = folder / program
    if not file.is_file():
        return f"cannot be started: there is no program {program}"
    if not os.access(file, os.X_OK):
        return f"cannot be started: {program} may not be executed"
    return None


def _wait(process: subprocess.Popen[bytes], timeout: float, output: IO[bytes]) -> str | None:
    """Wait until the command ends; why it has to be ended, where it does not."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, min(_POLL_SECONDS, left)))
            return None
        if left <= 0:
            return f"took longer than {timeout:.0f} s"
        status = os.fstat(output.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size > MAX_LOG:
            return f"printed more than {format_bytes(MAX_LOG)}"


def _answer(code: int, problem: str | None, file: Path, seconds: float) -> CommandAnswer:
    if problem is not None:
        return CommandAnswer(problem=problem, seconds=seconds)
    if code < 0:
        return CommandAnswer(problem=f"was ended by signal {-code}", seconds=seconds)
    try:
        return CommandAnswer(exit_code=code, figures=read_figures(file), seconds=seconds)
    except FiguresError as error:
        # Who fails may leave half a file; the exit code says it all.
        fault = f"wrote no figures that can be read: the file {error}"
        return CommandAnswer(exit_code=code, problem=fault if code == 0 else None, seconds=seconds)
