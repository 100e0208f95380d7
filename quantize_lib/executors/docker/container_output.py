"""The folder that a container may write to. What lies there belongs to foreign code: every name, kind, mode
and depth of it is hostile, also after the container is gone."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_lib.errors import CheckpointError
from quantize_lib.files import read_json
from quantize_lib.job.layout import RESULT_FILE
from quantize_lib.text import format_bytes

MAX_ANSWER_BYTES = 2**20
"""Of the answer to a question."""
_MAX_RESULT_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class OutputLimits:
    """How much a container may leave; a bind mount has no quota of its own.

    Attributes:
        size: bytes of all files, sparse ones counted whole.
        entries: files and folders.
        free: bytes that stay free on the disk. Catches files that were removed while they are written to.
    """

    size: int
    entries: int = 100_000
    free: int = 2**30


def exceeded(folder: Path, limits: OutputLimits) -> str | None:
    """What a container's output is too much of, or None. Links are counted, never followed."""
    if shutil.disk_usage(folder).free < limits.free:
        return f"the disk of {folder} has less than {format_bytes(limits.free)} left"
    size = entries = 0
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    entries += 1
                    size += max(status.st_size, status.st_blocks * 512)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(Path(entry.path))
                    if size > limits.size:
                        return f"it wrote more than {format_bytes(limits.size)}"
                    if entries > limits.entries:
                        return f"it made more than {limits.entries:,} files"
        except FileNotFoundError:
            continue
        except OSError as error:
            # A folder that its owner may not read, or names longer than paths can be: nothing of ours.
            return f"its output cannot be looked at ({error.strerror})"
    return None


def take(output: Path, cells: Iterable[str], target: Path) -> None:
    """Move the result and the cells' folders to the host's side, as files of ours.

    What else lies in `output` stays there. The folders still have to be checked against what a checkpoint may
    hold.

    Raises:
        CheckpointError: where one of the names is something else than it should be.
    """
    output.chmod(0o700)
    for name in (RESULT_FILE, *cells):
        path = output / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if name != RESULT_FILE:
            if not stat.S_ISDIR(status.st_mode):
                raise CheckpointError(f"the container left something else than a folder as {name}")
            _make_ours(path, depth=2)
        elif not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_RESULT_BYTES:
            raise CheckpointError(f"the container left no usable {name}: not a file of sensible size")
        else:
            _own(path, 0o644)
        path.rename(target / name)


def give_back(names: Iterable[str], source: Path, output: Path, user: tuple[int, int]) -> None:
    """Move folders to where a container looks for them: cells that were taken and whose checks are made
    again, and state that was brought back from a store.

    Args:
        source: where they lie, by their names.
        user: whom the container's files belong to.
    """
    for name in names:
        folder = source / name
        if not folder.is_dir() or (output / name).exists():
            continue
        hand_to(folder, user)
        folder.rename(output / name)


def read_answer(path: Path) -> Any:
    """The JSON that a container left as its answer, which is foreign.

    Raises:
        ValueError: where it is none, no regular file, or too large.
        OSError: where it cannot be read.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_ANSWER_BYTES:
        raise ValueError(f"{path.name} is no file of at most {MAX_ANSWER_BYTES} bytes")
    try:
        return read_json(path)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def hand_to(folder: Path, user: tuple[int, int]) -> None:
    """Let a folder of ours belong to the container's user, who is another one where root starts it."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *user, follow_symlinks=False)


def _make_ours(folder: Path, *, depth: int) -> None:
    """Give a folder and its regular files the owner and modes of this process's files.

    Nothing in a checkpoint is deeper than `depth`; what is will be refused as it is.
    """
    _own(folder, 0o755)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth > 1:
                    _make_ours(Path(entry.path), depth=depth - 1)
            elif entry.is_file(follow_symlinks=False):
                _own(Path(entry.path), 0o644)


def _own(path: Path, mode: int) -> None:
    if os.getuid() == 0:
        os.chown(path, 0, 0, follow_symlinks=False)
    path.chmod(mode)
