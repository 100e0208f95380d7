"""Writes what a quantizing process gets: its job and its texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from quantize_lib.calibration.conversations import documents_to_json
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts
from quantize_lib.files import write_text
from quantize_lib.harness.task_file import task_key
from quantize_lib.host.prepare import Prepared
from quantize_lib.job.job_file import (
    JobBuild,
    JobCell,
    JobFile,
    JobModel,
    JobShard,
    JobTask,
    JobText,
    JobTextPart,
    write_job,
)
from quantize_lib.source.facts import ModelSource


def hand_over(
    prepared: Prepared,
    source: ModelSource,
    folder: Path,
    *,
    builds: Sequence[Path] = (),
    max_memory: int | None,
    shard: JobShard | None = None,
) -> Path:
    """Write the job's file and, beside it, its texts.

    Args:
        folder: of the job; the process leaves its answer there, too.
        builds: the folders of the other builds, in their order.
        max_memory: bytes that the process may take; None for no limit.
        shard: of the calibration text, whose statistics are all that is to be made.

    Returns:
        The job's file.
    """
    job = prepared.job
    path = folder / "job.json"
    write_job(
        path,
        JobFile(
            id=job.id,
            model=JobModel(
                path=source.folder,
                name=job.model.name,
                revision=prepared.facts.revision,
                trust_remote_code=job.model.trust_remote_code,
                allow_pickle=job.model.allow_pickle,
                allow_quantized_base=job.model.allow_quantized_base,
            ),
            device=job.device,
            calibration=_text(job.calibration, prepared.calibration, folder / "calibration.json"),
            evaluation=_text(job.evaluate.held_out, prepared.evaluation, folder / "evaluation.json"),
            texts={
                name: handed
                for name, spec in job.evaluate.texts.items()
                if (handed := _text(spec, prepared.texts.get(name), folder / f"text-{name}.json")) is not None
            },
            cells=tuple(JobCell(id=cell.id, settings=cell.settings) for cell in job.cells),
            output=folder,
            told=prepared.facts.notes,
            max_memory=max_memory,
            tasks=tuple(JobTask(spec=task, key=task_key(task)) for task in job.evaluate.tasks),
            builds=tuple(
                JobBuild(path=path, name=build.name, revision=build.revision, size=build.weight_bytes)
                for build, path in zip(prepared.builds, builds, strict=True)
            ),
            shard=shard,
            statistics=prepared.statistics,
        ),
    )
    return path


def _text(spec: TextSpec | None, texts: Texts | None, path: Path) -> JobText | None:
    if spec is None or texts is None:
        return None
    write_text(path, json.dumps(documents_to_json(texts.texts), ensure_ascii=False))
    return JobText(
        texts=path,
        source=texts.source,
        dataset=texts.dataset,
        revision=texts.revision,
        samples=spec.samples,
        sequence_length=spec.sequence_length,
        seed=spec.seed,
        allow_short=spec.allow_short,
        optional=spec.optional,
        chat_template_kwargs=dict(spec.chat_template_kwargs),
        parts=tuple(
            JobTextPart(
                documents=len(part.texts),
                source=part.source,
                dataset=part.dataset,
                revision=part.revision,
                samples=source.samples,
                chat_template_kwargs=dict(source.chat_template_kwargs),
            )
            for source, part in zip(spec.mix, texts.parts, strict=True)
        ),
    )
