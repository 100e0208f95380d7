"""Lets fresh processes measure, one after the other, and keeps what each one says."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.records import Answer, Prompts, Protocol, Result, Subject, Through
from quantize_lib.benchmark.serving import ServerError, serving
from quantize_lib.environment import ending, run_module
from quantize_lib.files import last_line, read_json, write_json
from quantize_lib.reporting import Reporter

_TIMEOUT_SECONDS = 24 * 3600.0
_LOADER, _SERVER = "quantize_lib.benchmark.timing", "quantize_lib.benchmark.streaming"


def measure_all(
    subjects: Sequence[Subject],
    protocol: Protocol,
    prompts: Prompts,
    *,
    logs: Path,
    keep: Callable[[Sequence[Result]], None],
    reporter: Reporter,
) -> None:
    """Measure every subject in `protocol.rounds` fresh processes, in turns.

    What slows the machine down for a while then slows all of them down. One that fails is not tried again.

    Args:
        logs: a folder; what a failed process printed stays in it.
        keep: gets everything that was measured so far, after each process and when this is interrupted.
        reporter: gets the progress and each failure.
    """
    results = {subject.name: Result(subject=subject) for subject in subjects}
    with reporter.progress("Measuring", protocol.rounds * len(subjects), "turn") as progress:
        for number in range(protocol.rounds):
            for place, subject in enumerate(subjects, start=1):
                result = results[subject.name]
                if not result.ended:
                    log = logs / f"{place}-{subject.folder.name}.log"
                    log.parent.mkdir(parents=True, exist_ok=True)
                    question = {
                        "folder": str(subject.folder),
                        "prompts": list(prompts.texts),
                        "first_prompt": number * protocol.prompts_a_process,
                        **asdict(protocol),
                    }
                    answers: list[Answer] = []
                    try:
                        if subject.through is None:
                            _ask(_LOADER, question, log, answers)
                        else:
                            _ask_server(subject.through, protocol, question, log, answers)
                    finally:
                        results[subject.name] = replace(result, answers=(*result.answers, *answers))
                        keep(tuple(results.values()))
                    _tell(results[subject.name], log, reporter)
                progress.advance()


def _ask(module: str, question: Mapping[str, Any], log: Path, answers: list[Answer]) -> None:
    """Let one process measure; `answers` gets what it said, also where this is interrupted."""
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "question.json", Path(name) / "answer.json"
        write_json(asked, question)
        error: str | None = "interrupted"
        try:
            code = run_module(module, asked, answered, log=log, timeout=_TIMEOUT_SECONDS)
            error = None if code == 0 else f"its process {ending(code)} ({last_line(log)})"
        except subprocess.TimeoutExpired:
            error = f"its process took longer than {_TIMEOUT_SECONDS / 3600:.0f} h"
        finally:
            answer = Answer.of(read_json(answered)) if answered.exists() else Answer()
            answers.append(answer if error is None else replace(answer, error=error))


def _ask_server(
    through: Through, protocol: Protocol, question: Mapping[str, Any], log: Path, answers: list[Answer]
) -> None:
    """As `_ask`, with a server that is started for it; what that prints comes first in the log."""
    asking = log.with_suffix(".asking.log")
    try:
        with serving(through, protocol, log) as server:
            asked = {
                **question,
                "server": through.server,
                "model": str(through.path),
                "port": server.port,
                "key": server.key,
            }
            try:
                _ask(_SERVER, asked, asking, answers)
            finally:
                # On a GPU what servers take is a share of it that is set, whatever the model needs.
                peak = server.peak_memory() if answers and answers[0].device == "cpu" else None
                answers[:] = [
                    replace(
                        answer, loader=server.words, load_seconds=server.load_seconds, peak_memory_bytes=peak
                    )
                    for answer in answers
                ]
            server.check()
    except ServerError as error:
        answers[:] = [replace(answer, error=str(error)) for answer in answers or [Answer()]]
    finally:
        _append(asking, log)


def _append(part: Path, log: Path) -> None:
    if part.exists():
        with log.open("ab") as file:
            file.write(part.read_bytes())
        part.unlink()


def _tell(result: Result, log: Path, reporter: Reporter) -> None:
    """Report what the last process could not do, or remove its log."""
    answer = result.answers[-1]
    failed = Result(subject=result.subject, answers=(answer,)).error
    if failed is not None:
        reporter.error(f"{result.subject.name}: {failed}\n  What its process printed is in {log}.")
    elif result.error is None:
        log.unlink(missing_ok=True)
