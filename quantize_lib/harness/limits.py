"""Limits on tasks, judged with the figures' standard errors as those on metrics are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from quantize_lib.harness.spec import MAX_LOSS, MIN, TaskFigure, is_task_limit, split_limit
from quantize_lib.metrics import Estimate, Figure, Limit, Outcome, Verdict


class _OfTask(Limit):
    """A limit on one task's figure; what is judged is its `Figure`.

    Args:
        name: the task's id.
        task: what it gave.
    """

    words: ClassVar[Mapping[str, Any]] = {}
    number: ClassVar[str] = ""

    def __init__(self, name: str, task: TaskFigure) -> None:
        self._name = name
        self._task = task

    def fault(self, figure: Figure) -> str | None:
        if figure.after is None or not math.isfinite(figure.after):
            return _unmeasured(self._name, self.key)
        return None

    def said(self, figure: Figure, limit: float) -> str:  # noqa: ARG002 - four digits are enough
        return f"{self._name}: {self._task.metric} is {figure.after:.4g}"

    def shown(self, value: float) -> str:
        return f"{value:g}"


class _Least(_OfTask):
    key = MIN
    is_least = True

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None, "it has no fault"
        return Estimate(figure.after, figure.standard_error)


class _Loss(_OfTask):
    """How much worse than the base model's it is.

    Both models answered the same examples, but what each example scored is not kept: the error is that of two
    independent figures, which is too large rather than too small.
    """

    key = MAX_LOSS

    def fault(self, figure: Figure) -> str | None:
        if figure.before is None or not math.isfinite(figure.before):
            return f"the task {self._name} was not measured of the base model, and its {self.key} is set"
        return super().fault(figure)

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.before is not None, "it has no fault"
        assert figure.after is not None, "it has no fault"
        loss = figure.before - figure.after if self._task.more_is_better else figure.after - figure.before
        errors = (self._task.before_error, self._task.after_error)
        known = [error for error in errors if error is not None]
        return Estimate(loss, math.hypot(*known) if len(known) == len(errors) else None)

    def said(self, figure: Figure, limit: float) -> str:
        loss = self.estimate(figure).value
        compared = (
            f"{abs(loss):.4g} {'worse' if loss > 0 else 'better'} than the base model's {figure.before:.4g}"
        )
        return f"{super().said(figure, limit)}, {compared}"


_RULES = {rule.key: rule for rule in (_Least, _Loss)}


def judge_tasks(figures: Mapping[str, TaskFigure], limits: Mapping[str, float]) -> Iterator[Verdict]:
    """How each limit on a task was judged; a figure that is missing or not finite misses its own.

    Args:
        figures: by the task's id.
        limits: of the whole gate, by their keys; those on tasks count.
    """
    for key, limit in limits.items():
        if not is_task_limit(key):
            continue
        name, kind = split_limit(key)
        task = figures.get(name)
        if task is None:
            yield Verdict(key=key, outcome=Outcome.MISSED, text=_unmeasured(name, kind))
            continue
        figure = Figure(before=task.before, after=task.after, standard_error=task.after_error)
        yield replace(_RULES[kind](name, task).judge(figure, limit), key=key)


def _unmeasured(name: str, kind: str) -> str:
    return f"the task {name} was not measured, and its {kind} is set"
