"""The other cells of a cell's model, for its card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from quantize_lib.gate import check_gate
from quantize_lib.host.earlier import earlier_record
from quantize_lib.plan.cells import SMALLEST, Cell, Job, Plan
from quantize_lib.report.records import CellRecord

Page = Callable[[str], str | None]
"""The address of a repository; None where it has none."""


class Siblings:
    """Finds the other cells of a cell's model, as far as they are finished.

    Args:
        plan: whose cells they are.
        output: the run's output folder, for what lies there already.
        page: of a repository that is published.
    """

    def __init__(self, plan: Plan, output: Path, page: Page) -> None:
        self._cells: dict[str, list[tuple[Job, Cell]]] = {}
        for job, cell in plan.cells():
            self._cells.setdefault(job.model.id, []).append((job, cell))
        self._output = output
        self._page = page

    def of(self, own: CellRecord, made: Mapping[str, CellRecord]) -> Iterator[CellRecord]:
        """Their records in the manifest's order, with the address of those that are to be published.

        Args:
            own: the cell's; those of another revision of its model are not beside it.
            made: by cell id, what is not in the output folder yet.
        """
        for job, cell in self._cells.get(own.model, ()):
            if cell.id == own.id:
                continue
            record = made.get(cell.id) or earlier_record(cell.id, self._output)
            if record is None or record.measurements is None:
                continue
            if (record.model, record.revision) != (own.model, own.revision):
                continue
            missed = check_gate(record.measurements, job.evaluate.limits)
            # Which one of them is chosen is not known yet.
            open_choice = job.evaluate.choose == SMALLEST
            yield replace(
                record,
                status="gated" if missed else "built",
                repository=cell.repository,
                part=cell.part,
                url=None if missed or open_choice else self._page(cell.repository),
            )
