"""State that a container wrote is hostile: what is kept of it is regular files, so many and no more."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize_lib.job.layout import FINISHED_FILE, PASSES, PROGRESS_FILE
from quantize_lib.kept_state import snapshot as snapshots
from quantize_lib.kept_state.snapshot import ChangedError, UnfitError, signature, take_snapshot
from tests.support.states import CELL, write_pass

LIMIT = 100_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A state that could be kept."""
    write_pass(tmp_path / "root", 1, shard=100)
    (tmp_path / "secret").mkdir()
    for name in (PROGRESS_FILE, "hidden-00001.safetensors", "part-00001.safetensors"):
        (tmp_path / "secret" / name).write_text("{}")
    return tmp_path / "root"


def _linked(path: Path) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        target = root.parent / "secret" / path.name
        if (root / path).is_dir():
            (root / path).rename(root.parent / "was")
            target = root.parent / "secret"
        else:
            (root / path).unlink()
        (root / path).symlink_to(target)

    return damage


def _named(**other: object) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / PASSES / "1" / PROGRESS_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), **other}), encoding="utf-8")

    return damage


def _pipe(root: Path) -> None:
    (root / PASSES / "proof.pt").unlink(missing_ok=True)
    path = root / PASSES / "1" / "hidden-00001.safetensors"
    path.unlink()
    os.mkfifo(path)


def _sparse(root: Path) -> None:
    os.truncate(root / PASSES / "1" / "hidden-00001.safetensors", 10**12)
    _named(hidden={"file": "hidden-00001.safetensors", "size": 10**12})(root)


def _long(root: Path) -> None:
    os.truncate(root / PASSES / "1" / PROGRESS_FILE, snapshots.MAX_WORDS_BYTES + 1)


def _many(root: Path) -> None:
    for number in range(12):
        (root / PASSES / f"bits-{number}.json").write_text("{}")


def _deep(root: Path) -> None:
    (root / CELL / "a" / "b").mkdir(parents=True)
    (root / PASSES / FINISHED_FILE).write_text(json.dumps({"cells": {CELL: {}}}), encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        _linked(Path(PASSES)),
        _linked(Path(PASSES, "1")),
        _linked(Path(PASSES, "1", CELL)),
        _linked(Path(PASSES, "1", PROGRESS_FILE)),
        _linked(Path(PASSES, "1", "hidden-00001.safetensors")),
        _linked(Path(PASSES, "1", CELL, "part-00001.safetensors")),
        _named(hidden={"file": "../../../secret/hidden-00001.safetensors", "size": 2}),
        _named(hidden={"file": "..", "size": 2}),
        _named(hidden={"file": "hidden-00001.safetensors", "size": "x"}),
        _named(hidden=None),
        _named(cells=[]),
        _named(cells={CELL: {"shards": {"closed": [], "current": {"length": "x"}}}}),
        lambda root: (root / PASSES / "1" / PROGRESS_FILE).write_text("[" * 100_000) and None,
        lambda root: (root / PASSES / FINISHED_FILE).write_text('{"cells": 3}') and None,
        _pipe,
        _sparse,
        _long,
        _many,
        _deep,
    ],
)
def test_what_no_state_holds_is_not_kept(
    root: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_FILES", 10)
    assert take_snapshot(root, {CELL: 1}, limit=LIMIT) is not None
    damage(root)
    with pytest.raises(UnfitError):
        take_snapshot(root, {CELL: 1}, limit=LIMIT)


def test_cells_of_other_jobs_and_what_lies_beside_are_left_out(root: Path) -> None:
    write_pass(root, 2, shard=300, cell="another-gptq-4bit")
    (root / PASSES / ".hidden").write_text("x")
    (root / PASSES / "folder").mkdir()
    (root / PASSES / "link.json").symlink_to(root.parent / "secret" / PROGRESS_FILE)
    taken = take_snapshot(root, {CELL: 1}, limit=LIMIT)
    assert taken is not None
    with taken:
        assert sorted(taken.files) == [f"{PASSES}/1/hidden-00002.safetensors", f"{PASSES}/1/{PROGRESS_FILE}"]


def test_a_pass_whose_files_are_not_those_that_are_named_is_not_kept_yet(root: Path) -> None:
    os.truncate(root / PASSES / "1" / "hidden-00001.safetensors", 3)
    with pytest.raises(ChangedError):
        take_snapshot(root, {CELL: 1}, limit=LIMIT)


def test_where_nothing_is_committed_there_is_nothing_to_keep(root: Path) -> None:
    before = signature(root)
    (root / PASSES / "1" / PROGRESS_FILE).unlink()
    (root / PASSES / "proof.pt").write_bytes(b"proof")
    assert take_snapshot(root, {CELL: 1}, limit=LIMIT) is None
    assert signature(root) != before
    assert signature(root / "nowhere") == ()
