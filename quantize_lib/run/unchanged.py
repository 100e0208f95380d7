"""Which cells need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from quantize_lib.calibration.texts import Texts
from quantize_lib.errors import PublishError, QuantizerError
from quantize_lib.publish.base import Publisher
from quantize_lib.publish.verify import verify_checkpoint
from quantize_lib.report import read_report
from quantize_lib.run.finish import blank_record
from quantize_lib.run.prepare import Prepared
from quantize_lib.types import Cell, CellRecord, TextSpec


def earlier_records(output: Path) -> Mapping[str, CellRecord]:
    """The cells of the report that an earlier run left in the folder; none where there is no usable one."""
    try:
        return {record.id: record for record in read_report(output)}
    except QuantizerError:
        return {}


def built_before(
    cell: Cell, prepared: Prepared, earlier: CellRecord | None, output: Path
) -> CellRecord | None:
    """The earlier record, where its checkpoint is what this run would make and measure, byte for byte.

    Args:
        earlier: of the same id, from the output folder's report.
    """
    if earlier is None or earlier.path is None or earlier.fingerprint != prepared.fingerprints[cell.id]:
        return None
    if not _measured_alike(earlier, prepared.job.evaluate.perplexity, prepared.evaluation):
        return None
    try:
        verify_checkpoint(output / earlier.path, earlier.files)
    except PublishError:
        return None
    return replace(earlier, repository=cell.repository)


def published_before(cell: Cell, prepared: Prepared, publisher: Publisher | None) -> CellRecord | None:
    """A record of what is published already, where its fingerprint is this cell's."""
    current = None if publisher is None else publisher.current(cell.repository)
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
