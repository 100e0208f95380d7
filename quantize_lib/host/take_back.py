"""Takes a cell's publication back, as `publish --rollback CELL`."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.errors import UsageError
from quantize_lib.manifest import load_manifest
from quantize_lib.plan import narrow
from quantize_lib.publish.registry import get_publisher
from quantize_lib.report import REPORT_FILE, read_publish_spec, read_report
from quantize_lib.reporting import Reporter
from quantize_lib.targets import PublishSpec, get_target
from quantize_lib.wording import allowed, meant


def roll_back(where: Path, cell: str, reporter: Reporter) -> None:
    """Put the publication before the present one back.

    Args:
        where: a run's output folder; or the manifest, where that folder is gone.
        cell: the cell's id.

    Raises:
        UsageError: where there is no such cell, or it is published where no history is kept.
        PublishError: where there is no earlier publication, or it cannot be put back.
    """
    repository, part, spec = _from_manifest(where, cell) if where.is_file() else _from_report(where, cell)
    publisher = get_publisher(spec)
    target = get_target(spec.to)
    if not target.keeps_history:
        raise UsageError(
            f"{repository} is in {target.place}, which keeps no history: there is nothing to go back to",
            hint="Copy an earlier state there by hand, or build the cell again with other settings.",
        )
    done = publisher.rollback(repository, part)
    reporter.info(f"{cell} is what it was before: {repository} at {done.commit}")


def _from_manifest(manifest: Path, cell: str) -> tuple[str, str, PublishSpec]:
    plan = narrow(load_manifest(manifest), only=[cell])
    ((_, found),) = plan.cells()
    return found.repository, found.part, plan.publish


def _from_report(output: Path, cell: str) -> tuple[str, str, PublishSpec]:
    records = {record.id: record for record in read_report(output)}
    spec = read_publish_spec(output)
    if spec is None:
        raise UsageError(f"{output / REPORT_FILE} does not say where it was published")
    record = records.get(cell)
    if record is None or record.repository is None:
        raise UsageError(
            f"--rollback: {output / REPORT_FILE} has no cell {cell!r}",
            hint=f"{allowed(records)}{meant(cell, list(records))}",
        )
    return record.repository, record.part, spec
