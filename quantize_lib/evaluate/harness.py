"""Runs tasks of lm-evaluation-harness on a model, in a fresh process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.evaluate.process import answer_of, model_question
from quantize_lib.harness.spec import TaskSpec

_MODULE = "quantize_lib.evaluate.harness_run"
_CHECK_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a task gave for one model; the attributes are those of `TaskFigure`.

    Attributes:
        value, error: of the metric, with its standard error; None where it is not finite or there is none.
    """

    metric: str
    more_is_better: bool
    examples: int
    num_fewshot: int
    value: float | None
    error: float | None


def check_tasks(tasks: Sequence[TaskSpec], *, work: Path) -> None:
    """See that the library knows every task and that its examples can be read.

    Args:
        work: an existing folder for temporary files and the log.

    Raises:
        EvaluationError: naming the task.
    """
    log = work / "tasks.log"
    spec = {"tasks": _plain(tasks), "model": None}
    answer_of(_MODULE, spec, name="tasks", doing="reading them", log=log, work=work, timeout=_CHECK_SECONDS)


def run_tasks(
    folder: Path,
    tasks: Sequence[TaskSpec],
    *,
    name: str,
    work: Path,
    tensors: Iterable[TensorInfo] = (),
    device: str = "cpu",
    trust_remote_code: bool = False,
    timeout: float = 24 * 3600.0,
) -> Mapping[str, Score]:
    """What tasks give for a model, by their ids.

    Args:
        folder: a checkpoint, or the base model.
        name: of the model, for messages.
        work: an existing folder for temporary files and the log.
        tensors: of a base model; those that are stored quantized are dequantized.
        device: where the model is loaded: `cpu`, `cuda` or `mps`.
        timeout: in seconds.

    Raises:
        EvaluationError: where the model does not load, or a task fails.
    """
    model = model_question(folder, tensors=tensors, device=device, trust_remote_code=trust_remote_code)
    answer = answer_of(
        _MODULE,
        {"tasks": _plain(tasks), "model": model},
        name=name,
        doing="its tasks",
        log=work / f"{folder.name}-tasks.log",
        work=work,
        timeout=timeout,
    )
    return {task: Score(**score) for task, score in answer["scores"].items()}


def _plain(tasks: Sequence[TaskSpec]) -> list[dict[str, object]]:
    return [{**asdict(task), "file": None if task.file is None else str(task.file)} for task in tasks]
