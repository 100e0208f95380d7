"""Publishes the checkpoints of an earlier run, as `publish DIR`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quantize_lib.errors import PublishError, UsageError
from quantize_lib.gate import check_gate
from quantize_lib.host.finish import gated, publish_checkpoint
from quantize_lib.host.manifest_cards import ManifestCards
from quantize_lib.host.output_folder import working_in
from quantize_lib.host.published_before import published_before
from quantize_lib.publish.base import Publisher
from quantize_lib.publish.registry import get_publisher
from quantize_lib.report import (
    REPORT_FILE,
    read_manifest_path,
    read_publish_spec,
    read_report,
    write_report,
)
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter


def republish(output: Path, reporter: Reporter, *, force: bool = False) -> tuple[CellRecord, ...]:
    """Publish every checkpoint of a run's output folder that met its gate; the report is brought up to date.

    Hashes are checked again. Cards are brought up to date: with what the run's manifest and the base models'
    cards say, where these are there, and with what somebody corrected in them. A cell that missed its gate
    stays unpublished.

    Args:
        force: publish also what a rollback took back.

    Raises:
        UsageError: where the folder holds no report, or the report names no place to publish to.
    """
    records = list(read_report(output))
    spec = read_publish_spec(output)
    if spec is None:
        raise UsageError(f"{output / REPORT_FILE} does not say where to publish")
    publisher = get_publisher(spec)
    manifest = read_manifest_path(output)
    cards = ManifestCards(manifest, output, lambda name: publisher.page(name, "main"), reporter)
    started = datetime.now(UTC)
    with working_in(output):
        try:
            for number, record in enumerate(records):
                records[number] = _published(publisher, cards, output, record, reporter, force=force)
        finally:
            # Also where it was interrupted: what is published by now is to be known.
            write_report(
                output,
                records,
                started=started,
                finished=datetime.now(UTC),
                command=f"model-quantizer publish {output.name}",
                publish=spec,
                manifest=manifest,
            )
    return tuple(records)


def _published(
    publisher: Publisher,
    cards: ManifestCards,
    output: Path,
    record: CellRecord,
    reporter: Reporter,
    *,
    force: bool,
) -> CellRecord:
    if record.path is None or record.status not in ("built", "published", "skipped"):
        reporter.info(f"{record.id} is {record.status}: not published")
        return record
    if record.not_chosen is not None:
        reporter.info(f"{record.id} is not published: {record.not_chosen}")
        return record
    before = published_before(publisher, record)
    missed = check_gate(record.measurements, record.limits, before) if record.measurements else ()
    if missed:
        return gated(record, missed, reporter)
    try:
        record = cards.brought_up(output / record.path, record)
        return publish_checkpoint(publisher, output, record, reporter, force=force)
    except PublishError as error:
        reporter.error(f"{record.id}: {error}")
        return replace(record, status="built", error=str(error), code=error.code)
