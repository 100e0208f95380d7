"""What tasks and test commands measured of a model's cells, as one table for page and summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantize_lib.harness.spec import with_error
from quantize_lib.report.comparison import short_labels
from quantize_lib.report.records import CellRecord, Measurements


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """A row for each figure.

    Attributes:
        heads: of the columns after the first: the base model, then each cell that was tested.
        rows: what the figure is, and its values; empty where there is none.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def task_table(records: Sequence[CellRecord]) -> TaskTable | None:
    """The table of one model's cells; None where nothing was tested, or no figure counts."""
    cells = [(record, found) for record in records if (found := _figures(record.measurements))]
    if not cells:
        return None
    labels = short_labels([record for record, _ in cells])
    names = list(dict.fromkeys(name for _, found in cells for name in found))
    return TaskTable(
        heads=("base model", *(labels[record.id] for record, _ in cells)),
        rows=tuple(
            (
                name,
                next((found[name][0] for _, found in cells if name in found and found[name][0]), ""),
                *(found[name][1] if name in found else "" for _, found in cells),
            )
            for name in names
        ),
    )


def _figures(measured: Measurements | None) -> dict[str, tuple[str, str]]:
    """The base model's figure and the checkpoint's, by what they are."""
    if measured is None or not measured.proven:
        return {}
    found = {
        f"{name}: {task.metric}": (
            with_error(task.before, task.before_error),
            with_error(task.after, task.after_error),
        )
        for name, task in measured.tasks.items()
    }
    if measured.command is not None:
        figures = measured.command.figures.items()
        found |= {f"test command: {name}": ("", f"{value:.6g}") for name, value in figures}
    return found
