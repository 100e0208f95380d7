"""What the tests of kept state share: a pass's files on disk, and a reporter that remembers."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.files import write_json
from quantize_lib.job.layout import PASSES, PROGRESS_FILE
from tests.support.quantizing import Silent

JOB, CELL = "tiny-auto", "tiny-gptq-4bit"


class Heard(Silent):
    """A reporter that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def write_pass(root: Path, block: int, *, shard: int, cell: str = CELL) -> None:
    """What a pass leaves after a block: hidden states, and a shard that only grows."""
    folder = root / PASSES / "1"
    (folder / cell).mkdir(parents=True, exist_ok=True)
    (folder / cell / "part-00001.safetensors").write_bytes(bytes(i % 251 for i in range(shard)))
    hidden = f"hidden-{block:05d}.safetensors"
    (folder / hidden).write_bytes(bytes([block]) * 1500)
    current = {"length": shard, "entries": {}, "odd": []}
    progress = {
        "blocks": block,
        "hidden": {"file": hidden, "size": 1500},
        "cells": {cell: {"shards": {"closed": [], "current": current, "total_bytes": shard}}},
    }
    # At once, as a pass does: something may look on.
    write_json(folder / PROGRESS_FILE, progress)
    for older in folder.glob("hidden-*"):
        if older.name != hidden:
            older.unlink()


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
