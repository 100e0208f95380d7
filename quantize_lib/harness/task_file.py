"""A task's own file: looked at before the download, and known by its content and that of its data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantize_lib.errors import UsageError
from quantize_lib.files import sha256_file, sha256_json
from quantize_lib.harness.spec import TaskSpec
from quantize_lib.text import plain

_FORM = (
    "It is YAML as lm-evaluation-harness reads it, with at least `task`, `dataset_path` and `output_type`."
)


def task_key(task: TaskSpec) -> str:
    """Digest of what determines a task's figure beside the model: how it is asked for, its file and its data.

    Raises:
        UsageError: where its file cannot be read, or is no task.
    """
    files = [] if task.file is None else [task.file, *_data_files(read_task(task.file), task.file)]
    try:
        digests = [sha256_file(file) for file in files]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    return sha256_json([task.id, task.limit, task.num_fewshot, task.metric, digests])


def read_task(file: Path) -> dict[str, Any]:
    """A task's file as plain data; functions that it names are not looked at.

    Raises:
        UsageError: where it cannot be read, is not YAML, or is no task.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Knows the library's tag for functions."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]
    try:
        data = yaml.load(file.read_bytes(), Loader=Loader)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{file}"
        why = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{place} is not YAML: {plain(why)}", hint=_FORM) from error
    if not isinstance(data, dict) or not isinstance(data.get("task"), str):
        raise UsageError(f"{file} is no task: it has no `task`, which is its name", hint=_FORM)
    return data


def _data_files(data: dict[str, Any], file: Path) -> Iterator[Path]:
    """The local files that a task's data are read from, in their order."""
    arguments = data.get("dataset_kwargs")
    for name in _texts(arguments.get("data_files") if isinstance(arguments, dict) else None):
        if "://" not in name:
            path = file.parent / name
            yield from sorted(file.parent.glob(name)) if not path.is_absolute() and "*" in name else [path]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
