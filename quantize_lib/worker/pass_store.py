"""Keeps a pass on disk after each block, and finds it again (docs/explanation/resume.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from quantize_lib.checkpoint.shards import ShardWriter, write_tensors
from quantize_lib.engine.block import Fold
from quantize_lib.engine.expert_statistics import ExpertTally
from quantize_lib.engine.pass_state import CellOutcome, PassState
from quantize_lib.errors import CheckpointError, QuantizerError, error_of
from quantize_lib.files import read_json, write_text
from quantize_lib.job.layout import PROGRESS_FILE
from quantize_lib.process_memory import peak_memory
from quantize_lib.reporting import Reporter
from quantize_lib.worker.hidden_files import HiddenFile, Spill

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.pass_state import Batches


class PassFolder:
    """One pass's folder: `progress.json`, one file of hidden states, a folder of shards for each cell.

    It is the pass's `PassStore`.

    Attributes:
        folder: where it is kept.
        writers: by cell id; they stand where the state says.
        keys: of the cells, by id: what determines their blocks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str,
        keys: Mapping[str, str],
        device: str,
        reporter: Reporter,
        spill: int = 0,
    ) -> None:
        self.folder = folder
        self.keys = dict(keys)
        self.writers: dict[str, ShardWriter] = {}
        self._key = key
        self._device = device
        self._reporter = reporter
        self._data: Mapping[str, Any] | None = None
        self._hidden: Mapping[str, Batches] = {}
        self._spill = Spill(folder, room=spill) if spill else None
        self._room = spill
        self._keeps = True

    @classmethod
    def new(
        cls,
        folder: Path,
        *,
        key: str,
        keys: Mapping[str, str],
        room: Mapping[str, int],
        device: str,
        reporter: Reporter,
        spill: int = 0,
    ) -> PassFolder:
        """A pass that begins.

        Args:
            key: what determines the pass beside its cells.
            room: about how many tensors each cell will have.
            spill: about how many batches of hidden states there are, where they are to stay on disk while
                blocks work on them; 0 for in memory.
        """
        store = cls(folder, key=key, keys=keys, device=device, reporter=reporter, spill=spill)
        for cell_id in keys:
            (folder / cell_id).mkdir(parents=True)
            store.writers[cell_id] = ShardWriter(folder / cell_id, tensors=room[cell_id])
        return store

    @classmethod
    def find(
        cls,
        folder: Path,
        *,
        key: str,
        keys: Mapping[str, str],
        room: Mapping[str, int],
        device: str,
        reporter: Reporter,
        spill: int = 0,
    ) -> PassFolder | None:
        """The pass that an earlier process left there, with those of its cells that `keys` still wants.

        Returns:
            None where nothing of it can be used; the folder is gone then.
        """
        found = cls(folder, key=key, keys={}, device=device, reporter=reporter, spill=spill)
        try:
            found._restore(read_json(folder / PROGRESS_FILE), keys, room)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError):
            # Killed before its first block, damaged, or of another version of this tool.
            found.keys.clear()
        if not found.keys:
            found.close()
            shutil.rmtree(folder)
            return None
        found._sweep()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file as it is; what was committed is all there."""
        for writer in self.writers.values():
            writer.abandon()
        if self._spill is not None:
            self._spill.abandon()

    def _restore(self, data: Mapping[str, Any], keys: Mapping[str, str], room: Mapping[str, int]) -> None:
        if data["key"] != self._key:
            return
        hidden = self.folder / Path(data["hidden"]["file"]).name
        if hidden.stat().st_size != data["hidden"]["size"]:
            return
        self._hidden = _Hidden(HiddenFile(hidden))
        if self._spill is not None:
            self._hidden = self._spill = Spill(
                self.folder, room=self._room, blocks=data["blocks"], current=HiddenFile(hidden)
            )
        self._data = data
        for cell_id, kept in data["cells"].items():
            if keys.get(cell_id) != kept["key"]:
                continue
            checkpoint_dir = self.folder / cell_id
            if kept["shards"] is None:
                # It failed; nothing will be written.
                self.writers[cell_id] = ShardWriter(checkpoint_dir, tensors=0)
            else:
                finished = self.folder.parent.parent / cell_id
                if not checkpoint_dir.exists() and finished.is_dir():
                    # Finished, but killed before that was written down.
                    finished.rename(checkpoint_dir)
                try:
                    self.writers[cell_id] = ShardWriter.reopen(
                        checkpoint_dir, kept["shards"], tensors=room[cell_id]
                    )
                except CheckpointError as error:
                    self._reporter.warning(f"{cell_id} starts afresh: {error.message}")
                    continue
            self.keys[cell_id] = kept["key"]

    def _sweep(self) -> None:
        """Remove what belongs to no cell of ours, and what a kill left half written."""
        named = "" if self._data is None else Path(self._data["hidden"]["file"]).name
        kept = {PROGRESS_FILE, named, *self.writers}
        for entry in self.folder.iterdir():
            if entry.name not in kept:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    @property
    def peak_memory_bytes(self) -> int:
        """The most that earlier processes took for it."""
        return 0 if self._data is None else int(self._data["peak_memory_bytes"])

    def load(self) -> PassState | None:
        """The state as it was kept; hidden states are read when they are asked for."""
        if self._data is None:
            return None
        return PassState(
            blocks=self._data["blocks"],
            seconds=self._data["seconds"],
            cells={cell_id: _outcome(self._data["cells"][cell_id]) for cell_id in self.keys},
            folds={
                tuple((name, tuple(shape)) for name, shape in entry["key"]): tuple(map(_fold, entry["folds"]))
                for entry in self._data["folds"]
            },
            hidden=self._hidden,
        )

    def hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        """In memory, or on disk where they are to be spilled."""
        return list(batches) if self._spill is None else self._spill.hold(name, batches)

    def commit(self, state: PassState) -> None:
        """Shards first, then the hidden states in a new file, then the words that name them.

        Where the disk is full the pass goes on without: the checkpoints need the room more. Spilled states
        cannot be done without.

        Raises:
            OSError: where the disk is too full for spilled states.
        """
        if not self._keeps:
            return
        try:
            self._write(state)
        except OSError as error:
            if self._spill is not None:
                raise
            self._give_up(error)

    def _write(self, state: PassState) -> None:
        shards = {
            cell_id: None if state.cells[cell_id].error else writer.sync()
            for cell_id, writer in self.writers.items()
        }
        if self._spill is not None:
            hidden = self._spill.turn()
        else:
            hidden = self.folder / f"hidden-{state.blocks:05d}.safetensors"
            write_tensors(
                hidden,
                (
                    (f"{name}:{number}", states)
                    for name, batches in state.hidden.items()
                    for number, states in enumerate(batches)
                ),
                count=sum(map(len, state.hidden.values())),
            )
        text = json.dumps(self._describe(state, hidden, shards), separators=(",", ":"))
        write_text(self.folder / PROGRESS_FILE, text)
        for older in self.folder.glob("hidden-*.safetensors"):
            if older != hidden:
                older.unlink()

    def _describe(self, state: PassState, hidden: Path, shards: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "key": self._key,
            "blocks": state.blocks,
            "seconds": state.seconds,
            "peak_memory_bytes": max(self.peak_memory_bytes, peak_memory(self._device)),
            "hidden": {"file": hidden.name, "size": hidden.stat().st_size},
            "folds": [
                {"key": structure, "folds": [asdict(fold) for fold in folds]}
                for structure, folds in state.folds.items()
            ],
            "cells": {
                cell_id: {
                    "key": self.keys[cell_id],
                    "shards": shards.get(cell_id),
                    "seconds": outcome.seconds,
                    "errors": outcome.errors,
                    "notes": outcome.notes,
                    "experts": None if outcome.experts is None else asdict(outcome.experts),
                    "unscaled": outcome.unscaled,
                    "error": None
                    if outcome.error is None
                    else {
                        "code": outcome.error.code,
                        "message": outcome.error.message,
                        "hint": outcome.error.hint,
                    },
                }
                for cell_id, outcome in state.cells.items()
            },
        }

    def _give_up(self, error: OSError) -> None:
        self._keeps = False
        self._reporter.warning(
            f"the state of the pass cannot be kept: {error.strerror or error}; where this run is killed the "
            "next one starts afresh"
        )
        with suppress(OSError):
            (self.folder / PROGRESS_FILE).unlink(missing_ok=True)
            for file in self.folder.glob("hidden-*.safetensors"):
                file.unlink()


class _Hidden(Mapping[str, "Batches"]):
    """Hidden states of a file, read into memory by name when they are asked for."""

    def __init__(self, file: HiddenFile) -> None:
        self._file = file

    def __getitem__(self, name: str) -> Batches:
        # Copies: what is mapped from the file would go with it.
        return [self._file.batch(name, number).clone() for number in range(self._file.counts[name])]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.counts)

    def __len__(self) -> int:
        return len(self._file.counts)


def _outcome(kept: Mapping[str, Any]) -> CellOutcome:
    error: QuantizerError | None = None
    if kept["error"] is not None:
        error = error_of(kept["error"]["code"], kept["error"]["message"], hint=kept["error"]["hint"])
    return CellOutcome(
        error=error,
        seconds=kept["seconds"],
        errors=dict(kept["errors"]),
        notes=list(kept["notes"]),
        experts=None if kept["experts"] is None else ExpertTally(**kept["experts"]),
        unscaled=kept["unscaled"],
    )


def _fold(kept: Mapping[str, Any]) -> Fold:
    rows = kept["rows"]
    return Fold(**{**kept, "targets": tuple(kept["targets"]), "rows": None if rows is None else tuple(rows)})
