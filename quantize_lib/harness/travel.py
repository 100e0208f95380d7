"""A task in a container, which has no network and nothing of this machine but copies of the task's files."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from quantize_lib.errors import UsageError
from quantize_lib.harness.spec import TaskSpec
from quantize_lib.harness.task_file import TaskFile

_GIVE = "Give a `file` whose data are files, named relative to it, or use --executor local."


def check_travels(task: TaskSpec) -> None:
    """See that a task can be run in a container, which has no network and only copies of its files.

    Raises:
        UsageError: where it cannot, or its file is no task.
    """
    if task.file is None:
        raise UsageError(
            f"the task {task.id} needs its data set from the Hub, and a container has no network", hint=_GIVE
        )
    found = TaskFile(task.file)
    for name in found.written:
        if "://" in name:
            raise UsageError(f"{task.file} names {name}, and a container has no network", hint=_GIVE)
        if Path(name).is_absolute():
            raise UsageError(f"{task.file} names {name}, which has another path in a container", hint=_GIVE)
    data, arguments = found.data, found.data.get("dataset_kwargs")
    if "custom_dataset" not in data and not (isinstance(arguments, dict) and "data_files" in arguments):
        raise UsageError(
            f"{task.file} needs the data set {data.get('dataset_path')}, and a container has no network",
            hint=_GIVE,
        )


def copy_task(task: TaskSpec, folder: Path) -> TaskSpec:
    """Copy a task's files, as they lie to each other, and give the task by its copy.

    Args:
        task: one that `check_travels` takes.
        folder: a new one.

    Raises:
        UsageError: where its file is no task.
        OSError: where a file cannot be copied.
    """
    assert task.file is not None, "it travels"
    files = [Path(os.path.normpath(file)) for file in TaskFile(task.file).files]
    root = os.path.commonpath([file.parent for file in files])
    for file in files:
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return replace(task, file=folder / files[0].relative_to(root))
