"""What a run's manifest, and the base models' cards, say of its finished checkpoints' cards by now."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from quantize_lib.errors import SourceError, UsageError
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.recard import adopted, recarded
from quantize_lib.host.siblings import Page, Siblings
from quantize_lib.manifest import load_manifest
from quantize_lib.plan.cells import Cell, Job, Plan
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter


class ManifestCards:
    """Brings cards up to date for `publish DIR`.

    Args:
        manifest: where the run's lay. On another machine there is none: cards are published as they are.
        output: the run's output folder.
        page: of a repository, for cards that name others.
    """

    def __init__(self, manifest: Path | None, output: Path, page: Page, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lookups = Lookups(reporter)
        self._plan = self._read(manifest)
        self._siblings = None if self._plan is None else Siblings(self._plan, output, page)
        cells = () if self._plan is None else self._plan.cells()
        self._cells: dict[str, tuple[Job, Cell]] = {cell.id: (job, cell) for job, cell in cells}

    def brought_up(self, checkpoint: Path, record: CellRecord) -> CellRecord:
        """The record of a checkpoint whose card says what it is to say now.

        Raises:
            PublishError: where the card cannot be read or written.
        """
        job, cell = self._cells.get(record.id, (None, None))
        if self._plan is None or self._plan.manifest is None or job is None or cell is None:
            return adopted(checkpoint, record)
        model = (
            job.model if job.model.local is not None else replace(job.model, revision=str(record.revision))
        )
        try:
            resolved = self._lookups.model(model)
            if resolved.revision != record.revision:
                self._reporter.warning(
                    f"{record.id}: the base model is another by now; the card stays as it is"
                )
                return adopted(checkpoint, record)
            base = self._lookups.card(model)
        except SourceError as error:
            self._reporter.warning(f"{record.id}: the card stays as it is: {error.message}")
            return adopted(checkpoint, record)
        return recarded(
            checkpoint,
            replace(record, terms=resolved.terms),
            base=base,
            cell=cell,
            job=job,
            command=shlex.join(["model-quantizer", "run", self._plan.manifest.name]),
            given=self._plan.publish.card,
            siblings=() if self._siblings is None else list(self._siblings.of(record, {})),
        )

    def _read(self, manifest: Path | None) -> Plan | None:
        if manifest is None or not manifest.is_file():
            return None
        try:
            return load_manifest(manifest)
        except UsageError as error:
            self._reporter.warning(f"cards are published as they are: {error}")
            return None
