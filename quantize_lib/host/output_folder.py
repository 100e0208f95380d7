"""The output folder: who works in it, and what lies in `.state/`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantize_lib.errors import UsageError
from quantize_lib.files import remove_tree
from quantize_lib.names import RESERVED

STATE = ".state"
JOBS = "jobs"
"""The folder in it with what killed jobs go on from (docs/explanation/resume.md)."""
UNPUBLISHED = "unpublished"
"""The folder in it with the checkpoints that the action hands to a later attempt; its own to remove."""


@contextmanager
def working_in(output: Path) -> Iterator[Path]:
    """Make the output folder and be alone in it.

    Yields:
        Its `.state` folder. Of what an earlier run left unfinished, the jobs' state is still there.

    Raises:
        UsageError: where the folder cannot be written, or another run works in it.
    """
    state = output / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(
            f"--output: {output} cannot be written: {error.strerror or error}",
            hint="Choose another folder with --output.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"--output: another run works in {output}",
                hint="Wait for it, or choose another folder with --output.",
            ) from error
        clear(state)
        # A report that was being written when the run was killed.
        for name in RESERVED:
            for half in output.glob(f".{name}.*"):
                half.unlink()
        yield state
    finally:
        os.close(descriptor)


def clear(state: Path) -> None:
    """Remove everything from `.state` but what is kept, and the lock, which others may hold open."""
    for entry in state.iterdir():
        if entry.name in (JOBS, UNPUBLISHED):
            continue
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        elif entry.name != "lock":
            entry.unlink()


def replace_folder(new: Path, target: Path, state: Path) -> None:
    """Put a finished folder in place of an older one; a crash leaves one of the two whole.

    Args:
        new, target: on one file system.
        state: where the older one waits to be removed.
    """
    old = state / f"old-{target.name}"
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
