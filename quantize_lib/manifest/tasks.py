"""Tasks of lm-evaluation-harness as the manifest names them, and the limits on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantize_lib.harness.spec import LIMITS, TaskSpec, task_limit_key
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.text import Report
from quantize_lib.names import absolute
from quantize_lib.wording import show

TASKS = "tasks"
"""The key in `evaluate`."""


def check_tasks(tasks: Sequence[Mapping[str, Any]], path: KeyPath, base: Path, report: Report) -> None:
    """Report files that are not there, and tasks that would share an id."""
    seen: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if "file" in task and not absolute(task["file"], base).is_file():
            report((*path, index, "file"), f"there is no file {show(task['file'])}.")
        identity = task_spec(task, base).id
        if identity in seen:
            report(
                (*path, index),
                f"{show(identity)} is the id of {TASKS}[{seen[identity]}] already; name each task once.",
            )
        seen.setdefault(identity, index)


def task_spec(task: Mapping[str, Any], base: Path) -> TaskSpec:
    """A checked task with its file found."""
    file = absolute(task["file"], base) if "file" in task else None
    return TaskSpec(
        id=task["task"] if file is None else file.stem,
        file=file,
        **{key: task[key] for key in ("limit", "num_fewshot", "metric") if key in task},
    )


def task_limits(tasks: Sequence[Mapping[str, Any]], base: Path) -> dict[str, float]:
    """The limits on tasks, by their keys among all of the gate's."""
    return {
        task_limit_key(task_spec(task, base).id, limit): float(task[limit])
        for task in tasks
        for limit in LIMITS
        if limit in task
    }
