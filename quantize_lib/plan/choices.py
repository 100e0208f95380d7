"""Which cells compete: of a model with `choose: smallest` one cell is published."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.devices import DeviceName
from quantize_lib.plan.cells import SMALLEST, Cell, Job, Plan


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The cells of one model of which one is published.

    Attributes:
        model: its name.
        cells: each with its job, in the manifest's order.
    """

    model: str
    cells: tuple[tuple[Job, Cell], ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cells' ids."""
        return tuple(cell.id for _, cell in self.cells)

    @property
    def devices(self) -> tuple[DeviceName, ...]:
        """Where the cells are made: a job for each."""
        return tuple(dict.fromkeys(job.device for job, _ in self.cells))


def choices_of(plan: Plan) -> tuple[Choice, ...]:
    """Every choice of a plan; one that is narrowed to some cells has them between those."""
    by_model: dict[str, list[tuple[Job, Cell]]] = {}
    for job, cell in plan.cells():
        if job.evaluate.choose == SMALLEST:
            by_model.setdefault(job.model.name, []).append((job, cell))
    return tuple(
        Choice(model=model, cells=tuple(sorted(cells, key=lambda pair: pair[1].position)))
        for model, cells in by_model.items()
    )
