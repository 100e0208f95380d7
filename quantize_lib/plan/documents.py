"""A plan for programs: stable JSON, and the matrix of a GitHub workflow (docs/reference/plan.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, Literal

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.command.spec import COMMAND, is_command_limit, split_limit
from quantize_lib.devices import DeviceName
from quantize_lib.effective_settings import effective_settings
from quantize_lib.errors import UsageError
from quantize_lib.harness.spec import LIMITS as TASK_LIMITS
from quantize_lib.harness.spec import TaskSpec, task_limit_key
from quantize_lib.methods.common import is_automatic
from quantize_lib.metrics import ALL_LIMITS, LIMITS, NO_WORSE_THAN, limit_key
from quantize_lib.plan.cells import CHOOSE, CONVERSATIONS, HELD_OUT, TEXTS, Cell, Job, Plan
from quantize_lib.plan.choices import choices_of
from quantize_lib.plan.estimate import JobEstimate
from quantize_lib.plan.serving import Serving
from quantize_lib.plan.shards import jobs_to_split
from quantize_lib.plan.verdict import Verdict
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.state_stores import beyond_output, state_label
from quantize_lib.targets import PublishSpec, all_options, get_target
from quantize_lib.wording import joined

MATRIX_LIMIT = 256
"""Jobs that GitHub allows in one matrix."""

_FORMAT = 1
_NONE: Mapping[str, Verdict] = {}
_IMAGE: Mapping[DeviceName, Literal["cpu", "cuda"]] = {"auto": "cpu", "cpu": "cpu", "cuda": "cuda"}


def plan_json(
    plan: Plan, estimates: Mapping[str, JobEstimate], verdicts: Mapping[str, Verdict] = _NONE
) -> dict[str, Any]:
    """The plan as `schemas/plan.schema.json` describes it.

    Args:
        plan: the plan.
        estimates: by job id; a job without one has null.
        verdicts: by cell id; a cell without one has null.
    """
    publish = plan.publish
    return {
        "version": _FORMAT,
        "manifest": _path(plan.manifest),
        "publish": {
            "to": publish.to,
            **_options(publish),
            "namespace": publish.namespace,
            "private": publish.private,
            "needs_credentials": get_target(publish.to).needs_credentials,
        },
        "state": {
            "in": plan.state.store,
            "label": state_label(plan.state),
            "beyond_output": beyond_output(plan.state),
        },
        "jobs": [_job(job, estimates.get(job.id), verdicts) for job in plan.jobs],
        "warnings": list(plan.warnings),
    }


def plan_github(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The matrix for `strategy.matrix`: one entry a job, or a group of jobs where there are too many.

    Raises:
        UsageError: where a job needs `mps`, which no runner of the manifest has, or where cells that
            compete would go to several runners.
    """
    for choice in choices_of(plan):
        if len(choice.devices) > 1:
            raise UsageError(
                f"{choice.model}: `choose: smallest` compares cells that would go to different runners, as "
                f"they are for {joined(choice.devices)}",
                hint="Give all of them one `device`, give `--device`, or make them in one `run`.",
            )
    by_device: dict[DeviceName, list[Job]] = {}
    for job in plan.jobs:
        if job.device not in _IMAGE:
            raise UsageError(
                f"the job {job.id} is for {job.device}, and `runners` has labels for cpu and cuda only",
                hint="Run it on the machine itself, or give `--device cpu`.",
            )
        by_device.setdefault(job.device, []).append(job)
    size = 1
    while sum(ceil(len(jobs) / size) for jobs in by_device.values()) > MATRIX_LIMIT:
        size += 1
    entries = [
        _entry(plan, jobs[start : start + size])
        for jobs in by_device.values()
        for start in range(0, len(jobs), size)
    ]
    return {"include": entries}


def plan_github_shards(plan: Plan, count: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Two matrices: `shards`, `count` entries for each job that calibrates, and `jobs`, as of `plan_github`.

    An entry of a shard says which it is (`shard`), one of a job how many it adds up (`shards`; 0 for none).

    Args:
        count: over how many jobs each calibration text is split.

    Raises:
        UsageError: as `plan_github`, and where there is less text or would be more entries than can be.
    """
    split = jobs_to_split(plan, count)
    if max(len(split) * count, len(plan.jobs)) > MATRIX_LIMIT:
        raise UsageError(
            f"{count} shards of {len(split)} jobs, and {len(plan.jobs)} jobs that add them up: GitHub allows "
            f"{MATRIX_LIMIT} jobs in a matrix",
            hint="Take fewer shards, or plan a part of the cells with --only.",
        )
    entries = plan_github(plan)["include"]
    added = {job.id for job in split}
    return {
        "shards": {
            "include": [
                {**entry, "job": f"{entry['job']}-shard-{number}-of-{count}", "shard": f"{number}/{count}"}
                for entry in entries
                if entry["job"] in added
                for number in range(1, count + 1)
            ]
        },
        "jobs": {
            "include": [{**entry, "shards": count if entry["job"] in added else 0} for entry in entries]
        },
    }


def _entry(plan: Plan, jobs: Sequence[Job]) -> dict[str, Any]:
    first = jobs[0]
    image = _IMAGE[first.device]
    labels = plan.runners.cuda if image == "cuda" else plan.runners.cpu
    return {
        "job": first.id if len(jobs) == 1 else f"{first.id}-and-{len(jobs) - 1}-more",
        "model": " ".join(dict.fromkeys(job.model.name for job in jobs)),
        "device": first.device,
        "image": image,
        "runs-on": list(labels),
        "cells": " ".join(cell.id for job in jobs for cell in job.cells),
    }


def _options(publish: PublishSpec) -> dict[str, Any]:
    """The targets' options that every plan has; null where they are another target's."""
    return {
        name: option.to_plan(publish[option]) if publish.to in owners else None
        for name, (option, owners) in all_options().items()
        if option.always_written
    }


def _job(job: Job, estimate: JobEstimate | None, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    model = job.model
    held_out = job.evaluate.held_out
    return {
        "id": job.id,
        "model": {
            **_named(model),
            "name": model.name,
            "trust_remote_code": model.trust_remote_code,
            "allow_pickle": model.allow_pickle,
            "allow_quantized_base": model.allow_quantized_base,
        },
        "device": job.device,
        "calibration": _text(job.calibration),
        "evaluate": {
            HELD_OUT: _text(held_out) if held_out else None,
            **{key: job.evaluate.limits.get(key) for key in ALL_LIMITS},
            NO_WORSE_THAN: "published" if NO_WORSE_THAN in job.evaluate.limits else None,
            TEXTS: {
                name: {
                    **_text(text),
                    **{key: job.evaluate.limits.get(limit_key(key, name)) for key in LIMITS},
                }
                for name, text in job.evaluate.texts.items()
            },
            CONVERSATIONS: _conversations(job),
            CHOOSE: job.evaluate.choose,
            "tasks": [_task(task, job) for task in job.evaluate.tasks],
            "compare_with": [_named(build) for build in job.evaluate.compare_with],
            COMMAND: _command(job),
        },
        "estimate": estimate
        and {
            "download_bytes": estimate.download_bytes,
            "disk_bytes": estimate.disk_bytes,
            "peak_memory_bytes": estimate.peak_memory_bytes,
            "activation_bytes": estimate.activation_bytes,
            "state_bytes": estimate.state_bytes,
            "parameters": estimate.parameters,
            "statistics_bytes": estimate.statistics_bytes,
        },
        "cells": [_cell(cell, estimate, verdicts.get(cell.id)) for cell in job.cells],
    }


def _conversations(job: Job) -> dict[str, Any] | None:
    text = job.evaluate.conversations
    if text is None:
        return None
    limits = {key: job.evaluate.limits.get(limit_key(key, CONVERSATIONS)) for key in LIMITS}
    return {"samples": text.samples, "sequence_length": text.sequence_length, **limits}


def _cell(cell: Cell, estimate: JobEstimate | None, verdict: Verdict | None) -> dict[str, Any]:
    settings = effective_settings(cell.settings)
    estimated: dict[str, Any] | None = None
    if estimate and cell.id in estimate.cells:
        estimated = {"checkpoint_bytes": estimate.cells[cell.id]}
        if "group_size" in settings and not is_automatic(cell.settings):
            estimated["group_size"] = estimate.group_sizes[cell.id]
        if cell.id in estimate.serving:
            estimated["serving"] = _serving(estimate.serving[cell.id])
    named = settings.pop("format", None)
    return {
        "id": cell.id,
        "method": settings.pop("method"),
        "bits": settings.pop("bits"),
        "format": estimate.formats[cell.id] if estimate and cell.id in estimate.formats else named,
        "settings": settings,
        "repository": cell.repository,
        "estimate": estimated,
        "change": verdict
        and {
            "build": verdict.build,
            "reasons": list(verdict.reasons),
            "text": verdict.text,
            "commit": verdict.commit,
        },
    }


def _serving(serving: Serving) -> dict[str, Any]:
    return {
        "cache_bytes": serving.cache_bytes,
        "splits": [{"gpus": split.gpus, "kernels": dict(split.kernels)} for split in serving.splits],
        # JSON has no other keys.
        "limits": {str(gpus): limit for gpus, limit in serving.limits.items()},
        "unknown": serving.unknown,
    }


def _named(model: ModelSpec) -> dict[str, Any]:
    revision = None if model.local else model.revision
    return {"id": model.id, "local": model.local is not None, "revision": revision}


def _task(task: TaskSpec, job: Job) -> dict[str, Any]:
    limits = {name: job.evaluate.limits.get(task_limit_key(task.id, name)) for name in TASK_LIMITS}
    given = {**asdict(task), "file": None if task.file is None else _path(task.file), **limits}
    return {key: value for key, value in given.items() if value is not None}


def _command(job: Job) -> dict[str, Any] | None:
    command = job.evaluate.command
    if command is None:
        return None
    limits: dict[str, dict[str, float]] = {}
    for key, limit in job.evaluate.limits.items():
        if is_command_limit(key) and key != COMMAND:
            name, kind = split_limit(key)
            limits.setdefault(name, {})[kind] = limit
    files = [_path(file) for file in command.files]
    return {"command": list(command.words), "files": files, "timeout": command.timeout, "limits": limits}


def _text(text: TextSpec) -> dict[str, Any]:
    amount = {"samples": text.samples, "sequence_length": text.sequence_length, "seed": text.seed}
    if text.mix:
        return {"mix": [{**_source(source), "samples": source.samples} for source in text.mix], **amount}
    return {**_source(text), **amount}


def _source(text: TextSpec) -> dict[str, Any]:
    given = {"chat_template_kwargs": dict(text.chat_template_kwargs)} if text.chat_template_kwargs else {}
    if text.dataset is not None:
        source = {"dataset": text.dataset, "config": text.config, "split": text.split}
        return {**source, "column": text.column, "revision": text.revision, **given}
    if text.files:
        return {"files": [_path(file) for file in text.files], "column": text.column, **given}
    return {"texts": len(text.texts)}


def _path(path: Path | None) -> str | None:
    return None if path is None else path.as_posix()
