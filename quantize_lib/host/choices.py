"""The choice among a model's cells: the smallest checkpoint that meets its limits is published, no other.

It is made when all of them are finished, wherever they were made and by whichever run, so that a run that was
killed and given again makes the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from quantize_lib.errors import PublishError
from quantize_lib.host.finish import Finisher
from quantize_lib.host.recard import with_choice
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.choices import Choice, choices_of
from quantize_lib.plan.fingerprint import choice_digest
from quantize_lib.plan.verdict import Verdict
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.text import format_bytes

_WAITS = "not chosen yet: other cells of its model are not finished"


def chosen(records: Sequence[CellRecord]) -> CellRecord | None:
    """The smallest checkpoint that met its limits, the first of equals; None where there is none.

    Args:
        records: of a model's cells, in the manifest's order, held to their limits.
    """
    return min((record for record in records if _meets(record)), key=_size, default=None)


def passed_over(record: CellRecord, winner: CellRecord) -> CellRecord:
    """The record of a cell that another one of its model was preferred to.

    One that failed, or was not looked at, stays as it is.
    """
    if _meets(record):
        size, other = format_bytes(_size(winner)), format_bytes(_size(record))
        if _size(record) == _size(winner):
            reason = f"one of the same size that comes first, {winner.id}, meets the limits: {size}"
        else:
            reason = f"a smaller one, {winner.id}, meets the limits: {size} beside {other}"
    elif record.status == "gated":
        reason = f"{record.error}; {winner.id} is chosen in its place"
    else:
        return record
    return replace(record, status="skipped", error=None, code=None, not_chosen=reason)


class Choices:
    """The choices of a run.

    Args:
        output: the run's output folder.
    """

    def __init__(self, plan: Plan, output: Path, finisher: Finisher, reporter: Reporter) -> None:
        self._all = choices_of(plan)
        self._open: list[Choice] = []
        self._output = output
        self._finisher = finisher
        self._reporter = reporter

    def begin(self, verdicts: Mapping[str, Verdict]) -> None:
        """Leave alone what was chosen and published before and follows from the same.

        Args:
            verdicts: by cell id.
        """
        self._open = [
            choice for choice in self._all if any(verdicts[identity].build for identity in choice.ids)
        ]

    def competes(self, cell_id: str) -> bool:
        """Whether a cell is part of a choice that is still to be made."""
        return any(cell_id in choice.ids for choice in self._open)

    def publish(self, record: CellRecord) -> CellRecord:
        """Publish a cell that was held to its limits, or let it wait for those that it competes with."""
        if record.status != "built" or record.error is not None:
            return record
        if self.competes(record.id):
            return replace(record, not_chosen=_WAITS)
        return self._finisher.publish(record)

    def make(self, records: dict[str, CellRecord]) -> None:
        """Make every choice that is not made and whose cells all have a record, and publish what is chosen.

        Args:
            records: by cell id; those of the cells are replaced.
        """
        ready = [choice for choice in self._open if records.keys() >= set(choice.ids)]
        self._open = [choice for choice in self._open if choice not in ready]
        for choice in ready:
            # What was chosen by an earlier run may not be so now.
            among = [replace(records[identity], not_chosen=None, choice=None) for identity in choice.ids]
            records.update((record.id, record) for record in self._made(choice, among))

    def _made(self, choice: Choice, among: Sequence[CellRecord]) -> list[CellRecord]:
        winner = chosen(among)
        if winner is None:
            self._reporter.warning(f"{choice.model}: no cell meets its limits, so none is published")
            return list(among)
        taking_part = [record for record in among if _meets(record) or record.status == "gated"]
        self._reporter.info(f"{winner.id} is chosen: the smallest of {choice.model} that meets its limits")
        others = [passed_over(record, winner) for record in among if record is not winner]
        for record in others:
            if record.not_chosen is not None:
                self._reporter.info(f"{record.id} is skipped: {record.not_chosen}")
        # Of those alone: one that failed is not part of what a later run finds unchanged.
        digest = choice_digest((record.fingerprint or "" for record in taking_part), winner.limits)
        return [self._published(replace(winner, choice=digest)), *others]

    def _published(self, winner: CellRecord) -> CellRecord:
        try:
            marked = with_choice(self._output / winner.id, winner)
        except PublishError as error:
            self._reporter.error(f"{winner.id}: {error}")
            return replace(winner, error=str(error), code=error.code)
        return self._finisher.publish(marked)


def _meets(record: CellRecord) -> bool:
    return record.status == "built" and record.error is None and record.measurements is not None


def _size(record: CellRecord) -> int:
    return 0 if record.measurements is None else record.measurements.size_after
