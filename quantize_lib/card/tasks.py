"""A card's figures of tasks and tests: tables, and the metadata that the Hub shows as evaluation results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quantize_lib.card.escape import Safe, code
from quantize_lib.harness.spec import TaskFigure, with_error
from quantize_lib.metrics import NONE
from quantize_lib.report.records import CellRecord
from quantize_lib.text import plain

_SOURCE = "lm-evaluation-harness"
_SOURCE_URL = "https://github.com/EleutherAI/lm-evaluation-harness"


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A row of the table; empty figures are dashes."""

    name: Safe
    metric: str
    examples: int
    before: str
    after: str


def task_rows(record: CellRecord) -> list[TaskRow]:
    """A row for each task."""
    return [
        TaskRow(
            name=code(name),
            metric=figure.metric + ("" if figure.more_is_better else " (less is better)"),
            examples=figure.examples,
            before=with_error(figure.before, figure.before_error) or NONE,
            after=with_error(figure.after, figure.after_error) or NONE,
        )
        for name, figure in _figures(record).items()
    ]


def command_rows(record: CellRecord) -> list[tuple[Safe, str]]:
    """The test command's figures, each with its name."""
    measured = record.measurements
    if measured is None or measured.command is None or not measured.proven:
        return []
    return [(code(name), f"{value:.6g}") for name, value in measured.command.figures.items()]


def model_index(record: CellRecord) -> list[dict[str, Any]] | None:
    """The card's `model-index`; None where no task has a figure."""
    figures = {name: one for name, one in _figures(record).items() if one.after is not None}
    if not figures:
        return None
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=plain(name),
            dataset_name=plain(name),
            metric_type=plain(figure.metric),
            metric_name=plain(figure.metric),
            metric_value=figure.after,
            dataset_args={"num_few_shot": figure.num_fewshot, "examples": figure.examples},
            source_name=_SOURCE,
            source_url=_SOURCE_URL,
        )
        for name, figure in figures.items()
    ]
    name = record.shown.rpartition("/")[2]
    index: list[dict[str, Any]] = eval_results_to_model_index(name, results)
    return index


def _figures(record: CellRecord) -> dict[str, TaskFigure]:
    measured = record.measurements
    return dict(measured.tasks) if measured is not None and measured.proven else {}
