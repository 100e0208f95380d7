"""Runs tasks with lm-evaluation-harness; in a fresh process.

`python -m quantize_lib.evaluate.harness_run SPEC.json RESULT.json`, both files of `harness`. Without a model
the tasks and their examples are only read. What is wrong stands in the result as `error`, in a sentence.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_lib.environment import end_with_parent
from quantize_lib.evaluate.opening import FaultyCheckpointError, doing, kind_of
from quantize_lib.evaluate.reload import load_model
from quantize_lib.files import finite, read_json, write_json
from quantize_lib.text import plain

_REASON_CHARACTERS = 300
_RESAMPLINGS = 1000
"""Of the bootstrap, for the standard errors of metrics that have no formula for it."""


class _TaskError(Exception):
    """A task that cannot be run; a sentence."""


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    spec_file, result_file = map(Path, arguments)
    spec = read_json(spec_file)
    try:
        scores = _run(spec["tasks"], spec["model"])
    except (_TaskError, FaultyCheckpointError) as problem:
        write_json(result_file, {"error": str(problem)})
    else:
        write_json(result_file, {"scores": scores})
    return 0


def _run(tasks: list[dict[str, Any]], model: Mapping[str, Any] | None) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    # Its list of thousands of files is read only where one of them is asked for.
    manager = TaskManager(include_defaults=any(task["file"] is None for task in tasks))
    loaded = None if model is None else _load(model)
    scores = {}
    for task in tasks:
        # A task's file names its data relative to itself.
        with _doing(task["id"]), _inside(task["file"]):
            found = _found(manager, task)
            if loaded is not None:
                scores[task["id"]] = _score(loaded, manager, found, task)
    return scores


def _found(manager: Any, task: Mapping[str, Any]) -> Any:
    """The task, with its examples."""
    name = task["id"]
    if task["file"] is None and name not in manager.task_index:
        raise _TaskError(
            f"lm-evaluation-harness knows no task {name}; `lm-eval ls tasks` lists those that there are"
        )
    tasks = manager.load([task["file"] or name])["tasks"]
    if len(tasks) != 1:
        raise _TaskError(f"{name} stands for {len(tasks)} tasks; name each of them")
    (found,) = tasks.values()
    if not len(found.eval_docs):
        raise _TaskError(f"the task {name} has no examples")
    return found


def _load(model: Mapping[str, Any]) -> Any:
    """The model as its users load it, for the library."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    folder = Path(model["folder"])
    with doing("it cannot be loaded"):
        loaded, _ = load_model(model, kind_of(folder))
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=model["trust_remote_code"], local_files_only=True
        )
        return HFLM(pretrained=loaded.eval(), tokenizer=tokenizer, batch_size=1)


def _score(loaded: Any, manager: Any, found: Any, task: Mapping[str, Any]) -> dict[str, Any]:
    from lm_eval.evaluator import simple_evaluate

    answer = simple_evaluate(
        loaded,
        tasks=[found],
        task_manager=manager,
        limit=task["limit"],
        num_fewshot=task["num_fewshot"],
        bootstrap_iters=_RESAMPLINGS,
        log_samples=False,
    )
    ((name, values),) = answer["results"].items()
    measured: dict[str, str] = {}
    for key in values:
        metric, _, filtered = key.partition(",")
        if filtered and not metric.endswith("_stderr"):
            measured.setdefault(metric, filtered)
    metric = task["metric"] or next(iter(measured), None)
    if metric not in measured:
        known = ", ".join(measured) or "none"
        raise _TaskError(f"the task {task['id']} has no metric {metric}; it has {known}")
    error = values.get(f"{metric}_stderr,{measured[metric]}")
    return {
        "metric": metric,
        "more_is_better": answer["higher_is_better"].get(name, {}).get(metric) is not False,
        "examples": answer["n-samples"][name]["effective"],
        "num_fewshot": answer["n-shot"][name],
        "value": finite(float(values[f"{metric},{measured[metric]}"])),
        "error": finite(float(error)) if isinstance(error, int | float) else None,
    }


@contextmanager
def _inside(file: str | None) -> Iterator[None]:
    """With a task's folder as the current one."""
    before = Path.cwd()
    os.chdir(before if file is None else Path(file).parent)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _doing(task: str) -> Iterator[None]:
    """Says of a library's error which task cannot be run, and keeps the error's first line.

    A task is a program of its author, and raises whatever it likes.
    """
    try:
        yield
    except _TaskError:
        raise
    except Exception as error:
        traceback.print_exc()
        line = plain(next(iter(str(error).splitlines()), "")) or type(error).__name__
        raise _TaskError(f"the task {task} cannot be run ({line[:_REASON_CHARACTERS]})") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
