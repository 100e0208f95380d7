"""A job's tasks of lm-evaluation-harness: looked at before the pass, run after the reloads."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import EvaluationError
from quantize_lib.harness.spec import TaskFigure, TaskSpec
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.result import FailedCell, QuantizedCell
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.job_checks import with_log
from quantize_lib.worker.job_memory import base_too_large
from quantize_lib.worker.resume import Finished

if TYPE_CHECKING:
    from quantize_lib.evaluate.harness import Score


def check_job_tasks(job: JobFile) -> None:
    """See that every task can be run, before anything is computed.

    Raises:
        EvaluationError: naming the task, or the library where it is not there.
    """
    if not job.tasks:
        return
    if importlib.util.find_spec("lm_eval") is None:
        raise EvaluationError(
            "evaluate.tasks needs lm-evaluation-harness, which is not installed here",
            hint="Install the extra `tasks`: pip install 'model-quantizer-action[tasks]'",
        )
    from quantize_lib.evaluate.harness import check_tasks

    work = _work(job)
    try:
        check_tasks(_specs(job), work=work)
    except EvaluationError as error:
        raise with_log(error, work / "tasks.log") from error
    shutil.rmtree(work)


def run_job_tasks(
    job: JobFile, facts: ModelFacts, finished: Finished, device: str, reporter: Reporter
) -> None:
    """Run the tasks on every checkpoint that passed its reload, and on the base model.

    A checkpoint on which a task fails stays where it is, with the reason, and so do the others.

    Raises:
        CheckpointError: where the disk is full.
    """
    wanted = {task.spec.id: task.key for task in job.tasks}
    cells = {
        cell.id: result
        for cell in job.cells
        if isinstance(result := finished.cells[cell.id], QuantizedCell)
        and result.reload is not None
        and {task: figure.key for task, figure in result.tasks.items()} != wanted
    }
    if not cells:
        return
    if not wanted:
        for cell_id, result in cells.items():
            finished.cells[cell_id] = replace(result, tasks={})
        finished.save()
        return
    work = _work(job)
    with reporter.progress("Running tasks", len(cells) + 1, "model") as progress:
        base = _of_base(job, facts, device, work, reporter)
        progress.advance()
        for cell_id, result in cells.items():
            scores = _scores(job, job.output / cell_id, cell_id, (), device, work)
            if isinstance(scores, EvaluationError):
                finished.cells[cell_id] = replace(result, failure=FailedCell.of(scores))
            else:
                tasks = {task: _figure(score, base.get(task), wanted[task]) for task, score in scores.items()}
                finished.cells[cell_id] = replace(result, tasks=tasks)
            finished.save()
            progress.advance()
    shutil.rmtree(work)


def _of_base(
    job: JobFile, facts: ModelFacts, device: str, work: Path, reporter: Reporter
) -> Mapping[str, Score]:
    """What the tasks give for the base model; nothing where it cannot be loaded, which is told."""
    without = base_too_large(job, facts, device)
    if without is None:
        scores = _scores(job, job.model.path, "the base model", facts.tensors.values(), device, work)
        if not isinstance(scores, EvaluationError):
            return scores
        without = scores.message
    reporter.warning(f"the tasks have no figures of the base model: {without}")
    return {}


def _scores(
    job: JobFile, folder: Path, name: str, tensors: Iterable[TensorInfo], device: str, work: Path
) -> Mapping[str, Score] | EvaluationError:
    from quantize_lib.evaluate.harness import run_tasks

    try:
        return run_tasks(
            folder,
            _specs(job),
            name=name,
            work=work,
            tensors=tensors,
            device=device,
            trust_remote_code=job.model.trust_remote_code,
        )
    except EvaluationError as error:
        return with_log(error, work / f"{folder.name}-tasks.log")


def _figure(score: Score, base: Score | None, key: str) -> TaskFigure:
    return TaskFigure(
        metric=score.metric,
        more_is_better=score.more_is_better,
        examples=score.examples,
        num_fewshot=score.num_fewshot,
        before=None if base is None else base.value,
        before_error=None if base is None else base.error,
        after=score.value,
        after_error=score.error,
        key=key,
    )


def _specs(job: JobFile) -> list[TaskSpec]:
    return [task.spec for task in job.tasks]


def _work(job: JobFile) -> Path:
    work = job.output / ".tasks"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    return work
