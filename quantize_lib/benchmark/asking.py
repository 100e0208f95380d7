"""Lets fresh processes measure, one after the other, and keeps what each one says."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from quantize_lib.benchmark.records import Answer, Prompts, Protocol, Result, Subject
from quantize_lib.environment import ending, run_module
from quantize_lib.files import last_line, read_json, write_json
from quantize_lib.reporting import Reporter

_TIMEOUT_SECONDS = 24 * 3600.0


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
                    answers: list[Answer] = []
                    try:
                        _ask(subject, protocol, prompts, number, log, answers)
                    finally:
                        results[subject.name] = replace(result, answers=(*result.answers, *answers))
                        keep(tuple(results.values()))
                    _tell(results[subject.name], log, reporter)
                progress.advance()


def _ask(
    subject: Subject, protocol: Protocol, prompts: Prompts, number: int, log: Path, answers: list[Answer]
) -> None:
    """Let one process measure; `answers` gets what it said, also where this is interrupted."""
    question = {
        "folder": str(subject.folder),
        "prompts": list(prompts.texts),
        "first_prompt": number * protocol.prompts_a_process,
        **asdict(protocol),
    }
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "question.json", Path(name) / "answer.json"
        write_json(asked, question)
        log.parent.mkdir(parents=True, exist_ok=True)
        error: str | None = "interrupted"
        try:
            code = run_module(
                "quantize_lib.benchmark.timing", asked, answered, log=log, timeout=_TIMEOUT_SECONDS
            )
            error = None if code == 0 else f"its process {ending(code)} ({last_line(log)})"
        except subprocess.TimeoutExpired:
            error = f"its process took longer than {_TIMEOUT_SECONDS / 3600:.0f} h"
        finally:
            answer = Answer.of(read_json(answered)) if answered.exists() else Answer()
            answers.append(answer if error is None else replace(answer, error=error))


def _tell(result: Result, log: Path, reporter: Reporter) -> None:
    """Report what the last process could not do, or remove its log."""
    answer = result.answers[-1]
    failed = Result(subject=result.subject, answers=(answer,)).error
    if failed is not None:
        reporter.error(f"{result.subject.name}: {failed}\n  What its process printed is in {log}.")
    elif result.error is None:
        log.unlink(missing_ok=True)
