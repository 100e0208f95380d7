"""What an earlier process of the same job left, and what of it still holds (docs/explanation/resume.md)."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib import __version__
from quantize_lib.files import read_json, sha256_json, write_json
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.layout import FINISHED_FILE, LOCK_FILE, PASSES
from quantize_lib.job.records import BuildFigures, TextRecord
from quantize_lib.job.result import (
    CellResult,
    FailedCell,
    build_from_json,
    cell_from_json,
    cell_to_json,
)
from quantize_lib.job.statistics_record import StatisticsRecord
from quantize_lib.methods import get_method
from quantize_lib.metrics import METRICS
from quantize_lib.reporting import Reporter
from quantize_lib.worker.answer import Answer

if TYPE_CHECKING:
    from quantize_lib.worker.pass_store import PassFolder

FORMAT = 4
"""Raised when the files' form changes, or the same settings begin to mean another output."""


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Wait until no other quantizing process works there: one whose run was killed may be about to end."""
    (output / PASSES).mkdir(parents=True, exist_ok=True)
    with (output / PASSES / LOCK_FILE).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pass_key(job: JobFile, known: Answer, shards: Sequence[StatisticsRecord] = ()) -> str:
    """Digest of what determines every cell of a pass, from the base model to the metrics.

    Args:
        known: device, versions and texts.
        shards: whose statistics are added up; empty where the pass calibrates.
    """
    sums = [file.sha256 for shard in shards for file in shard.files.values()]
    given = {"statistics": sums} if sums else {}
    return sha256_json({**_of_job(job, known), "versions": known.versions, **given})


def finished_key(job: JobFile, known: Answer) -> str:
    """As `pass_key`, for cells whose tensors are written: another version of a library changes them no more.

    So a check that failed because of a library is made again with a better one, and nothing is quantized.
    """
    return sha256_json({**_of_job(job, known), "version": __version__})


def _of_job(job: JobFile, known: Answer) -> dict[str, Any]:
    texts = {name: _digest(text) for name, text in known.held_out.texts.items()}
    return {
        "format": FORMAT,
        "revision": job.model.revision,
        "trust_remote_code": job.model.trust_remote_code,
        "device": known.device,
        "evaluation": _digest(known.held_out.first),
        **({"texts": texts} if texts else {}),
        "prompt": job.prompt,
        "metrics": list(METRICS),
    }


def cell_keys(job: JobFile, known: Answer) -> dict[str, str]:
    """Digest of what determines one cell beside that, by id: its settings, and calibration if it has any."""
    return {
        cell.id: sha256_json(
            {
                "settings": asdict(cell.settings),
                "calibration": _digest(known.calibration)
                if get_method(cell.settings.method).calibrated
                else None,
            }
        )
        for cell in job.cells
    }


def _digest(text: TextRecord | None) -> str | None:
    return None if text is None else text.tokens_digest


class Finished:
    """The cells of a job that came out of their pass, whether reloaded already or not.

    Attributes:
        cells: by id; changes are written with `save`.
        means: the pass's on the sample, by the cell's id and the metric's name.
        sample: how many held-out sequences the sample has.
        builds: what was measured of other builds of the base model, by their names.
        shared_seconds: wall time of their passes that no single cell caused.
        peak_memory_bytes: the most that a process took for them.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.logits_file = root / "base-logits.safetensors"
        self.cells: dict[str, CellResult] = {}
        self.means: dict[str, dict[str, float]] = {}
        self.sample = 0
        self.builds: dict[str, BuildFigures] = {}
        self.shared_seconds = 0.0
        self.peak_memory_bytes = 0
        self._file = root / FINISHED_FILE
        self._key = key
        self._keys: dict[str, str] = {}

    @classmethod
    def find(cls, output: Path, key: str, keys: Mapping[str, str]) -> Finished:
        """What an earlier process left; without what `keys` no longer wants, whose folders go."""
        found = cls(output / PASSES, key)
        try:
            found._restore(read_json(found._file), output, keys)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # There is none, or it is of another version of this tool.
            found = cls(output / PASSES, key)
        return found

    def _restore(self, data: Mapping[str, Any], output: Path, keys: Mapping[str, str]) -> None:
        fits = data["key"] == self._key
        for cell_id, kept in data["cells"].items():
            if "/" in cell_id or cell_id.startswith("."):
                raise ValueError(f"{cell_id} is no cell's id")
            folder = output / cell_id
            result = cell_from_json(kept["result"]) if fits else None
            if isinstance(result, FailedCell):
                # There is nothing of it: it gets another try.
                continue
            if result is not None and folder.is_dir() and kept["key"] == keys.get(cell_id):
                self.add(cell_id, kept["key"], replace(result, failure=None), kept["means"])
            elif folder.is_dir():
                shutil.rmtree(folder)
        if fits:
            self.sample = int(data["sample"])
            self.builds = {name: build_from_json(one) for name, one in data.get("builds", {}).items()}
            self.shared_seconds = float(data["shared_seconds"])
            self.peak_memory_bytes = int(data["peak_memory_bytes"])

    def add(self, cell_id: str, key: str, result: CellResult, means: dict[str, float] | None) -> None:
        """Note a cell; `save` makes it last."""
        self.cells[cell_id] = result
        self._keys[cell_id] = key
        if means is not None:
            self.means[cell_id] = means

    def save(self) -> None:
        """Write it down. On a full disk an OSError."""
        write_json(
            self._file,
            {
                "key": self._key,
                "sample": self.sample,
                "shared_seconds": self.shared_seconds,
                "peak_memory_bytes": self.peak_memory_bytes,
                "builds": {name: asdict(build) for name, build in self.builds.items()},
                "cells": {
                    cell_id: {
                        "key": self._keys[cell_id],
                        "result": cell_to_json(result),
                        "means": self.means.get(cell_id),
                    }
                    for cell_id, result in self.cells.items()
                },
            },
        )


def open_passes(
    output: Path,
    *,
    key: str,
    keys: Mapping[str, str],
    room: Mapping[str, int],
    device: str,
    reporter: Reporter,
    spill: int = 0,
) -> list[PassFolder]:
    """The passes to run: each that an earlier process left, with its unchanged cells; then one for the rest.

    Args:
        output: where finished cells go; the passes lie in its folder `.passes`.
        keys: the cells that are still to be made.
        room: about how many tensors each will have.
        spill: see `PassFolder.new`.
    """
    from quantize_lib.worker.pass_store import PassFolder

    root = output / PASSES
    left = dict(keys)
    passes: list[PassFolder] = []
    numbers = sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal())
    for number in numbers:
        found = PassFolder.find(
            root / str(number),
            key=key,
            keys=left,
            room=room,
            device=device,
            reporter=reporter,
            spill=spill,
        )
        if found is not None:
            passes.append(found)
            left = {cell_id: value for cell_id, value in left.items() if cell_id not in found.keys}
    if left:
        folder = root / str(max((int(one.folder.name) for one in passes), default=0) + 1)
        passes.append(
            PassFolder.new(
                folder, key=key, keys=left, room=room, device=device, reporter=reporter, spill=spill
            )
        )
    return passes
