"""Which cells need not be made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quantize_lib.calibration.texts import Texts
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json
from quantize_lib.publish.base import RECORD_FILE, PublishedState, Publisher
from quantize_lib.publish.verify import verify_checkpoint
from quantize_lib.report import record_from_json
from quantize_lib.run.finish import blank_record
from quantize_lib.run.prepare import Prepared
from quantize_lib.types import Cell, CellRecord, Reporter, TextSpec


def earlier_record(cell_id: str, output: Path) -> CellRecord | None:
    """What an earlier run built of a cell, as the checkpoint itself records it.

    The report would not do: a run of other cells into the same folder has written it anew.
    """
    try:
        data = read_json(output / cell_id / RECORD_FILE)
        return record_from_json({**data, "status": "built", "error": None, "path": cell_id, "commit": None})
    except (OSError, ValueError, KeyError, TypeError):
        # Not ours, or of another version of this tool: it is made again.
        return None


def built_before(cell: Cell, prepared: Prepared, output: Path) -> CellRecord | None:
    """The earlier record, where its checkpoint is what this run would make and measure, byte for byte."""
    earlier = earlier_record(cell.id, output)
    if earlier is None or earlier.path is None or earlier.fingerprint != prepared.fingerprints[cell.id]:
        return None
    if not _measured_alike(earlier, prepared.job.evaluate.perplexity, prepared.evaluation):
        return None
    try:
        verify_checkpoint(output / earlier.path, earlier.files)
    except PublishError:
        return None
    return replace(earlier, repository=cell.repository)


def current_state(publisher: Publisher | None, repository: str, reporter: Reporter) -> PublishedState | None:
    """What is published now; None with a warning where that cannot be found out, as publishing will tell."""
    if publisher is None:
        return None
    try:
        return publisher.current(repository)
    except PublishError as error:
        reporter.warning(str(error))
        return None


def published_before(
    cell: Cell, prepared: Prepared, publisher: Publisher | None, reporter: Reporter
) -> CellRecord | None:
    """A record of what is published already, where its fingerprint is this cell's."""
    current = current_state(publisher, cell.repository, reporter)
    if current is None or current.fingerprint != prepared.fingerprints[cell.id]:
        return None
    return replace(blank_record(cell, prepared), status="skipped", commit=current.commit)


def _measured_alike(earlier: CellRecord, spec: TextSpec | None, texts: Texts | None) -> bool:
    measured = None if earlier.measurements is None else earlier.measurements.evaluation
    if spec is None or texts is None or measured is None:
        return spec is None and measured is None
    return (
        measured.revision == texts.revision
        and measured.sequence_length == spec.sequence_length
        and (measured.samples == spec.samples or measured.short)
    )
