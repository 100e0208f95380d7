"""A task of lm-evaluation-harness as it is asked for, its figure, and the limits on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIN = "min"
MAX_LOSS = "max_loss"
LIMITS = (MIN, MAX_LOSS)
"""A task's keys in the manifest that are limits."""
_PREFIX = "tasks."


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task to run.

    Attributes:
        id: the name that the library knows it by, or that of its file without the suffix.
        file: absolute path of a task's file; None for a task of the library's own.
        limit: how many examples, from the beginning; None for all.
        num_fewshot: how many examples stand before each; None for what the task says.
        metric: which of the task's metrics; None for its first.
    """

    id: str
    file: Path | None = None
    limit: int | None = None
    num_fewshot: int | None = None
    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFigure:
    """What a task gave for a checkpoint and for its base model.

    Attributes:
        metric: which one, as the library calls it: `acc`.
        more_is_better: whether a larger value is the better one.
        examples: how many were used.
        num_fewshot: how many stood before each.
        before, before_error: of the base model, with its standard error; None where it is not known.
        after, after_error: the same of the checkpoint.
        key: digest of what was asked for (`task_file.task_key`).
    """

    metric: str
    more_is_better: bool
    examples: int
    num_fewshot: int
    before: float | None
    before_error: float | None
    after: float | None
    after_error: float | None
    key: str


def with_error(value: float | None, error: float | None) -> str:
    """A figure for people, with its standard error where there is one; empty where it is not known."""
    if value is None:
        return ""
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def task_limit_key(task: str, limit: str) -> str:
    """A limit's key among all limits of a gate: `tasks.arc_easy.min`."""
    return f"{_PREFIX}{task}.{limit}"


def is_task_limit(key: str) -> bool:
    """Whether a limit of a gate is one on a task."""
    return key.startswith(_PREFIX) and key.rpartition(".")[2] in LIMITS


def split_limit(key: str) -> tuple[str, str]:
    """The task's id, and which limit on it."""
    task, _, kind = key.removeprefix(_PREFIX).rpartition(".")
    return task, kind
