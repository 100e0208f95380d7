"""Measures the other builds of a job's base model, by the code and on the text of its checkpoints."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from quantize_lib.errors import EvaluationError
from quantize_lib.job.job_file import JobBuild, JobFile
from quantize_lib.job.records import BuildFigures
from quantize_lib.job.result import QuantizedCell
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.held_out import HeldOut
from quantize_lib.worker.job_checks import with_log
from quantize_lib.worker.job_memory import room_for_weights
from quantize_lib.worker.resume import Finished

if TYPE_CHECKING:
    from pathlib import Path


def measure_builds(
    job: JobFile, facts: ModelFacts, finished: Finished, held_out: HeldOut, device: str, reporter: Reporter
) -> None:
    """Measure every other build that an earlier process did not measure, and note what came of it.

    One that cannot be measured is told, and stops nothing: it is not this job's work.

    Args:
        facts: of the base model.
        finished: gets the figures, by the builds' names.
        device: where models are loaded.

    Raises:
        CheckpointError: where the disk is full.
    """
    from quantize_lib.checkpoint.shards import write_tensors

    finished.builds = {
        build.name: known
        for build in job.builds
        if (known := finished.builds.get(build.name)) is not None and known.revision == build.revision
    }
    left = [build for build in job.builds if build.name not in finished.builds]
    usable = any(isinstance(cell, QuantizedCell) and cell.failure is None for cell in finished.cells.values())
    if held_out.ids is None or not left or not usable:
        return
    work = job.output / ".builds"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    ids = work / "ids.safetensors"
    write_tensors(ids, [("ids", held_out.ids)], count=1)
    with reporter.progress("Comparing", len(left), "other build") as progress:
        for build in left:
            found = finished.builds[build.name] = _measure(job, build, facts, held_out, ids, device)
            if found.fault is not None:
                reporter.warning(f"{build.name} is not compared with: {found.fault}")
            finished.save()
            progress.advance()
    shutil.rmtree(work)


def _measure(
    job: JobFile, build: JobBuild, facts: ModelFacts, held_out: HeldOut, ids: Path, device: str
) -> BuildFigures:
    from quantize_lib.evaluate.beside import measure_build

    blank = BuildFigures(revision=build.revision, size=build.size)
    if device == "cpu" and not room_for_weights(job, facts, device, times=2):
        return replace(blank, fault="there is not the memory for it and the base model")
    work = ids.parent
    try:
        values, base = measure_build(
            build.path,
            job.model.path,
            ids,
            name=build.name,
            work=work,
            tensors=facts.tensors.values(),
            device=device,
            trust_remote_code=job.model.trust_remote_code,
        )
    except EvaluationError as error:
        fault = with_log(error, work / "build.log").message
        return replace(blank, fault=fault.removeprefix(f"{build.name}: "))
    figures, texts = held_out.figures(values, base)
    return replace(blank, figures=figures, texts=texts)
