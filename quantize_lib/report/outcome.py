"""The exit code of a run."""

from __future__ import annotations

from collections.abc import Iterable

from quantize_lib.errors import ExitCode
from quantize_lib.report.records import CellRecord


def exit_code(records: Iterable[CellRecord], publish_failed: bool = False) -> ExitCode:
    """The one that counts where several apply: a failed cell, then failed publishing, then a missed gate.

    Args:
        publish_failed: publishing failed in a way that no record says; a `built` cell with an error says it.
    """
    records = tuple(records)
    if any(record.status == "failed" for record in records):
        return ExitCode.CELL_FAILED
    if publish_failed or any(record.status == "built" and record.error is not None for record in records):
        return ExitCode.PUBLISH_FAILED
    if any(record.status == "gated" for record in records):
        return ExitCode.GATE_MISSED
    return ExitCode.OK
