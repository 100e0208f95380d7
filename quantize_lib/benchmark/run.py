"""A benchmark from its paths to its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from quantize_lib.benchmark.asking import measure_all
from quantize_lib.benchmark.document import DOCUMENT_FILE, Benchmark, benchmark_json
from quantize_lib.benchmark.machine import machine
from quantize_lib.benchmark.page import PAGE_FILE, benchmark_page
from quantize_lib.benchmark.prompts import read_prompts
from quantize_lib.benchmark.records import Protocol, Result, Subject
from quantize_lib.benchmark.subjects import find_subjects
from quantize_lib.benchmark.through import Ways, measured_through
from quantize_lib.benchmark.words import busy_words
from quantize_lib.errors import UsageError
from quantize_lib.files import write_json, write_text
from quantize_lib.reporting import Reporter
from quantize_lib.source.checkpoint import checkpoint_config, checkpoint_positions


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for.

    Attributes:
        paths: checkpoints, base models, outputs of runs, their reports.
        base: what all of them are compared with; None: what reports and records say.
        prompts: a file; None for the prompts that come with the package.
        prompt_count: how many of them; None for as many as are needed.
        ways: what they are measured through.
        output: where the files are written.
        command: the command line.
    """

    paths: Sequence[Path]
    base: Path | None
    prompts: Path | None
    prompt_count: int | None
    protocol: Protocol
    output: Path
    command: str
    ways: Ways = field(default_factory=Ways)


def run_benchmark(request: Request, reporter: Reporter) -> Benchmark:
    """Measure, and write what was measured, also where this is interrupted.

    Raises:
        UsageError: where a path, the prompts, a length or a server is wrong, before anything is loaded.
    """
    started = datetime.now().astimezone()
    load_average = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    protocol = request.protocol
    prompts = read_prompts(
        request.prompts,
        count=request.prompt_count,
        needed=protocol.rounds * protocol.prompts_a_process,
        seed=protocol.seed,
        note=reporter.warning,
    )
    subjects = find_subjects(request.paths, request.base, reporter)
    for subject in subjects:
        _check_length(subject, protocol)
    subjects = measured_through(subjects, request.ways, reporter)
    _make_folder(request.output)

    def finished(results: Sequence[Result]) -> Benchmark:
        return Benchmark(
            started=started,
            finished=datetime.now().astimezone(),
            command=request.command,
            load_average=load_average,
            protocol=protocol,
            prompts=prompts,
            results=results,
        )

    results: Sequence[Result] = ()

    def keep(measured: Sequence[Result]) -> None:
        nonlocal results
        results = measured
        write_json(request.output / DOCUMENT_FILE, benchmark_json(finished(results)))

    busy = busy_words(load_average, machine()["cores"])
    if busy is not None:
        reporter.warning(f"the machine is busy. {busy}")
    logs = request.output / "logs"
    try:
        measure_all(subjects, protocol, prompts, logs=logs, keep=keep, reporter=reporter)
    finally:
        # Where nothing failed there is nothing in it.
        with suppress(OSError):
            logs.rmdir()
        # Drawn once: the document has been written after every process.
        if results:
            write_text(request.output / PAGE_FILE, benchmark_page(finished(results)))
    return finished(results)


def _check_length(subject: Subject, protocol: Protocol) -> None:
    positions = checkpoint_positions(subject.folder, checkpoint_config(subject.folder))
    longest = max(protocol.prompt_lengths)
    if positions is not None and longest + protocol.new_tokens > positions:
        raise UsageError(
            f"--prompt-lengths: {longest} tokens and {protocol.new_tokens} new ones are more than the "
            f"{positions} positions of {subject.name}",
            hint=f"Say at most {max(1, positions - protocol.new_tokens)}, or fewer --new-tokens.",
        )


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output-dir: {output} cannot be made: {error.strerror or error}") from error
