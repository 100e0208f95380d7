"""A task's own file: looked at before the download, and known by its content and that of what it names."""

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
    """Digest of what determines a task's figure beside the model: how it is asked for, and its files.

    Raises:
        UsageError: where one of them cannot be read, or is no task.
    """
    files = [] if task.file is None else TaskFile(task.file).files
    try:
        digests = [sha256_file(file) for file in files]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    return sha256_json([task.id, task.limit, task.num_fewshot, task.metric, digests])


class TaskFile:
    """What a task's file says, as plain data, and what else it needs; functions are not looked at.

    Attributes:
        path: its own.
        data: its keys, over those of the files that it includes.
        written: the paths that it names, as they are written: files that are included, and data.
        files: itself, then what it includes, the modules of its functions that lie beside it, and its data.

    Raises:
        UsageError: where it cannot be read, is not YAML, or is no task.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: list[str] = []
        self._modules: list[Path] = []
        self._read: list[Path] = []
        self.data = self._merged(path)
        if not isinstance(self.data.get("task"), str):
            raise _no_task(path)
        self.files = [*self._read, *dict.fromkeys(self._modules), *self._data_files()]

    def _merged(self, path: Path) -> dict[str, Any]:
        """A file's keys over those of the files that it includes, which follow it in `files`."""
        data, functions = _load(path)
        self._read.append(path)
        modules = (function.rpartition(".")[0].replace(".", "/") for function in functions)
        beside = (path.parent / f"{module}.py" for module in modules if module)
        self._modules += [module for module in beside if module.is_file()]
        merged: dict[str, Any] = {}
        for name in _texts(data.pop("include", None)):
            self.written.append(name)
            if (included := path.parent / name) in self._read:
                raise UsageError(f"{path} includes {included}, which is a part of it already")
            merged |= self._merged(included)
        return merged | data

    def _data_files(self) -> Iterator[Path]:
        """The local files that the data are read from, in their order; relative to the task's own file."""
        arguments, folder = self.data.get("dataset_kwargs"), self.path.parent
        for name in _texts(arguments.get("data_files") if isinstance(arguments, dict) else None):
            self.written.append(name)
            if "://" not in name:
                pattern = "*" in name and not Path(name).is_absolute()
                yield from sorted(folder.glob(name)) if pattern else [folder / name]


def _load(file: Path) -> tuple[dict[str, Any], list[str]]:
    """A file's plain data, and the functions that it names."""
    import yaml

    functions: list[str] = []

    class Loader(yaml.SafeLoader):
        """Knows the library's tag for functions."""

    def function(loader: Any, node: Any) -> str:
        name: str = loader.construct_scalar(node)
        functions.append(name)
        return name

    Loader.add_constructor("!function", function)
    try:
        data = yaml.load(file.read_bytes(), Loader=Loader)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{file}"
        why = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{place} is not YAML: {plain(why)}", hint=_FORM) from error
    if not isinstance(data, dict):
        raise _no_task(file)
    return data, functions


def _no_task(file: Path) -> UsageError:
    return UsageError(f"{file} is no task: it has no `task`, which is its name", hint=_FORM)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
