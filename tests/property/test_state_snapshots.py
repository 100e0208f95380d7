"""Whatever a quantizing process does meanwhile, what is taken is a set that its `progress.json` described."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_lib.job.layout import FINISHED_FILE, PASSES, PROGRESS_FILE
from quantize_lib.kept_state import snapshot as snapshots
from quantize_lib.kept_state.index import Index, KeptFile
from quantize_lib.kept_state.snapshot import ChangedError, Snapshot, take_snapshot

CELLS = ("m-a-4bit", "m-b-8bit")
BLOCKS = 4
HEADER = 16
SMALL = 64
"""Larger files are held open; the worker's are on both sides of it."""


def added(cell: str, block: int) -> bytes:
    """What a block appends to a cell's shard."""
    return f"<{cell} {block}>".encode() * (3 * block)


def shard(cell: str, blocks: int) -> bytes:
    return bytes(HEADER) + b"".join(added(cell, block) for block in range(1, blocks + 1))


def hidden(block: int) -> bytes:
    return f"[hidden {block}]".encode() * (4 * block)


def finished(cell: str) -> bytes:
    return b"header of model.".ljust(HEADER)[:HEADER] + shard(cell, BLOCKS)[HEADER:]


def worker(root: Path) -> Iterator[None]:
    """A quantizing process in its steps, in the order of `worker/pass_store.py` and `worker/run_job.py`."""
    passes, folder = root / PASSES, root / PASSES / "1"
    for cell in CELLS:
        (folder / cell).mkdir(parents=True)
        (folder / cell / "part-00001.safetensors").write_bytes(bytes(HEADER))
        yield
    done: list[str] = []
    for block in range(1, BLOCKS + 1):
        for cell in CELLS:
            half = len(added(cell, block)) // 2
            for piece in (added(cell, block)[:half], added(cell, block)[half:]):
                with (folder / cell / "part-00001.safetensors").open("ab") as file:
                    file.write(piece)
                yield
        new = folder / f"hidden-{block:05d}.safetensors"
        new.write_bytes(hidden(block)[:7])
        yield
        new.write_bytes(hidden(block))
        yield
        _replace(folder / PROGRESS_FILE, _progress(block))
        yield
        for older in folder.glob("hidden-*"):
            if older != new:
                older.unlink()
                yield
    for cell in CELLS:
        part = folder / cell / "part-00001.safetensors"
        with part.open("r+b") as file:
            file.write(finished(cell)[:HEADER])
        yield
        part.rename(folder / cell / "model.safetensors")
        yield
        (folder / cell).rename(root / cell)
        yield
        done.append(cell)
        _replace(passes / FINISHED_FILE, {"cells": {cell: {} for cell in done}})
        yield
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
        yield
    folder.rmdir()
    yield


def _progress(block: int) -> dict[str, Any]:
    def shards(cell: str) -> dict[str, Any]:
        current = {"length": len(shard(cell, block)), "entries": {}, "odd": []}
        return {"closed": [], "current": current, "total_bytes": 0}

    return {
        "blocks": block,
        "hidden": {"file": f"hidden-{block:05d}.safetensors", "size": len(hidden(block))},
        "cells": {cell: {"shards": shards(cell)} for cell in CELLS},
    }


def _replace(path: Path, value: object) -> None:
    new = path.with_name(f".{path.name}.half")
    new.write_text(json.dumps(value), encoding="utf-8")
    new.replace(path)


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    return {path: b"".join(source.pieces()) for path, source in snapshot.files.items()}


def check(files: dict[str, bytes]) -> None:
    """That a process that is killed could have left these files, as far as another one looks at them."""
    done = json.loads(files.get(f"{PASSES}/{FINISHED_FILE}", b'{"cells": {}}'))["cells"]
    for cell in done:
        assert files[f"{cell}/model.safetensors"] == finished(cell)
    progress = files.get(f"{PASSES}/1/{PROGRESS_FILE}")
    wanted = {f"{PASSES}/{FINISHED_FILE}", *(f"{cell}/model.safetensors" for cell in done)}
    if progress is not None:
        block = json.loads(progress)["blocks"]
        name = f"{PASSES}/1/hidden-{block:05d}.safetensors"
        assert files[name] == hidden(block)
        wanted |= {f"{PASSES}/1/{PROGRESS_FILE}", name}
        for cell in set(CELLS) - set(done):
            path = f"{PASSES}/1/{cell}/part-00001.safetensors"
            # The header is filled in at the end, and written anew by whoever goes on.
            assert files[path][HEADER:] == shard(cell, block)[HEADER:]
            assert len(files[path]) == len(shard(cell, block))
            wanted.add(path)
    else:
        assert set(done) == set(CELLS)
    assert set(files) <= wanted


@settings(max_examples=150, deadline=None)
@given(before=st.integers(0, 70), steps=st.lists(st.integers(0, 6), max_size=60), late=st.integers(0, 70))
def test_no_interleaving_gives_a_set_that_was_never_described(
    before: int, steps: list[int], late: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        (root / PASSES).mkdir()
        at_work = worker(root)

        def work(count: int) -> None:
            for _ in range(count):
                next(at_work, None)

        work(before)
        left = iter(steps)

        def between(name: str) -> None:
            real: Callable[..., Any] = getattr(snapshots, name)

            def called(*arguments: Any) -> Any:
                work(next(left, 0))
                return real(*arguments)

            patch.setattr(snapshots, name, called)

        for name in ("_regular", "_folder", "_names", "_read"):
            between(name)
        patch.setattr(snapshots, "_SMALL_BYTES", SMALL)
        with suppress(ChangedError):
            taken = take_snapshot(root, dict.fromkeys(CELLS), limit=10**6)
            if taken is not None:
                with taken:
                    work(late)
                    check(contents(taken))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "format",
                        "piece_bytes",
                        "fingerprints",
                        "files",
                        "job",
                        "contained",
                        "size",
                        "pieces",
                        "x",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_an_index_it_is_read_or_refused(value: object) -> None:
    with suppress(ValueError):
        Index.parse(json.dumps(value).encode())


@given(
    size=st.integers(0, 10**12),
    parts=st.lists(st.sampled_from(["..", ".", "", ".passes", "m-a-4bit", "x", "a\nb", "/etc"]), max_size=5),
)
def test_an_index_names_no_file_outside(size: int, parts: list[str]) -> None:
    path = "/".join(parts)
    index = Index(
        job="m-auto",
        contained=False,
        fingerprints=dict.fromkeys(CELLS, "ab"),
        files={path: KeptFile(size=0, pieces=())},
    )
    try:
        read = Index.parse(index.to_bytes())
    except ValueError:
        return
    assert read == index
    assert not {"..", ".", "", "a\nb"} & set(path.split("/"))
    assert path.startswith((".passes/", "m-a-4bit/"))
    assert size >= read.size
