"""A job's folder in `.state/` as the host sees it: what a killed run left there.

Below `container-output` and `brought-back` everything is foreign: it is handed back to a container and
looked into by nothing but `kept_state.snapshot`. The rule: docs/explanation/resume.md.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantize_lib import __version__
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts
from quantize_lib.effective_settings import effective_settings
from quantize_lib.errors import CheckpointError
from quantize_lib.files import read_json, remove_tree, sha256_json, write_json
from quantize_lib.harness.task_file import task_key
from quantize_lib.host.output_folder import JOBS
from quantize_lib.host.prepare import Prepared
from quantize_lib.job.layout import BROUGHT_BACK, CONTAINER_OUTPUT, ENDED_FILE, PASSES, RESULT_FILE
from quantize_lib.job.result import FailedCell, JobResult, read_result
from quantize_lib.plan.cells import Cell
from quantize_lib.report.records import CARD_FILE, PICTURE_FILE, RECORD_FILE

_BUILT_FILE = "made.json"


class JobState:
    """One job's folder.

    Attributes:
        folder: where it is kept: `.state/jobs/JOB`.
    """

    def __init__(self, state: Path, job_id: str) -> None:
        self.folder = state / JOBS / job_id

    def begin(self, cells: Collection[str]) -> None:
        """Make it, and leave nothing in it but what the quantizing process goes on from.

        Args:
            cells: ids of those that will be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {PASSES, CONTAINER_OUTPUT, BROUGHT_BACK, ENDED_FILE, *cells}
        if (self.folder / ENDED_FILE).exists():
            # Perhaps killed while it was taken out of the container's folder.
            kept.add(RESULT_FILE)
        for entry in self.folder.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                remove_tree(entry)
            else:
                entry.unlink()

    def leave_for_another(self) -> None:
        """Let another quantizing process go on here: this one has ended, and some of its cells failed."""
        (self.folder / ENDED_FILE).unlink(missing_ok=True)

    def end(self, *, keep: bool = False) -> None:
        """Remove it.

        Args:
            keep: a cell failed, or an error or a signal ended the job; then it stays where a later run can go
                on from it.
        """
        if keep and self.is_worth_keeping():
            return
        if self.folder.exists():
            with suppress(OSError):
                remove_tree(self.folder)
        with suppress(OSError):
            # Only where it was the last.
            self.folder.parent.rmdir()

    def is_worth_keeping(self) -> bool:
        """Whether there is something that a later run can go on from."""
        passes = self.folder / PASSES
        worth = [self.folder / _BUILT_FILE]
        worth += [self.folder / foreign / PASSES for foreign in (CONTAINER_OUTPUT, BROUGHT_BACK)]
        worth += [*passes.glob("*.json"), *passes.glob("*/*.json")]
        # Looked for, not looked into; where a container forbids even that, it is nothing to go on from.
        return any(map(os.path.lexists, worth))

    def written(self, *, contained: bool) -> Path:
        """The folder that the quantizing process writes to.

        Args:
            contained: whether it does so in a container.
        """
        return self.folder / CONTAINER_OUTPUT if contained else self.folder

    def brought_back(self, *, contained: bool) -> Path:
        """The folder from which an executor lets the quantizing process go on with what a store had.

        Args:
            contained: whether a container does. What one wrote is never where a process of ours would take
                it for its own.
        """
        return self.folder / BROUGHT_BACK if contained else self.folder

    def write_made(self, prepared: Prepared) -> None:
        """Note that the quantizing process has ended well: only checking, carding and publishing are left."""
        keys = {cell.id: _key(cell, prepared) for cell in prepared.job.cells}
        write_json(self.folder / _BUILT_FILE, {"cells": keys})

    def made(self, prepared: Prepared) -> tuple[tuple[Cell, ...], JobResult | None]:
        """The cells that an earlier run's process made as this run wants them, and the result it left.

        A folder of another version of this tool counts as none.
        """
        try:
            keys = dict(read_json(self.folder / _BUILT_FILE)["cells"])
            result = read_result(self.folder / RESULT_FILE)
        except (OSError, ValueError, KeyError, TypeError, CheckpointError):
            return (), None
        cells = tuple(
            cell
            for cell in prepared.job.cells
            if keys.get(cell.id) == _key(cell, prepared)
            and (isinstance(result.cells.get(cell.id), FailedCell) or (self.folder / cell.id).is_dir())
        )
        for cell in cells:
            _without_ours(self.folder / cell.id)
        return cells, result

    def drop_made(self) -> None:
        """Forget the ended process and what it left, once its cells are finished."""
        if (self.folder / _BUILT_FILE).exists():
            remove_tree(self.folder)


def sweep(state: Path, jobs: Collection[str]) -> None:
    """Remove the state of jobs that the plan does not have."""
    if (state / JOBS).is_dir():
        for entry in (state / JOBS).iterdir():
            if entry.name not in jobs:
                remove_tree(entry)
        with suppress(OSError):
            (state / JOBS).rmdir()


def _key(cell: Cell, prepared: Prepared) -> str:
    """Digest of everything that this cell's part of the result depends on."""
    job = prepared.job
    spec, texts = job.evaluate.held_out, prepared.evaluation
    further = [[name, *_text_key(found, job.evaluate.texts[name])] for name, found in prepared.texts.items()]
    return sha256_json(
        {
            "version": __version__,
            "fingerprint": prepared.identities[cell.id].fingerprint,
            "settings": effective_settings(cell.settings),
            "device": job.device,
            "tasks": list(map(task_key, job.evaluate.tasks)),
            "evaluation": None if spec is None or texts is None else _text_key(texts, spec),
            **({"texts": further} if further else {}),
        }
    )


def _without_ours(folder: Path) -> None:
    """A made cell as the quantizing process left it: without the card and record of a run that was killed."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        ours = entry.name in (CARD_FILE, PICTURE_FILE, RECORD_FILE)
        half = entry.name.startswith((f".{CARD_FILE}.", f".{RECORD_FILE}."))
        # What is no file was not written by us, and will be refused.
        if (ours or half) and entry.is_file():
            entry.unlink()


def _text_key(texts: Texts, spec: TextSpec) -> list[Any]:
    """What a text's tokens depend on, beside the tokenizer."""
    asked = ([source.samples, dict(source.chat_template_kwargs)] for source in spec.sources)
    return [texts.revision, spec.samples, spec.sequence_length, spec.seed, *asked]
