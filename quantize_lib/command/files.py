"""The files that a test command finds in its current folder: looked at, known by content, and copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from quantize_lib.command.spec import CommandSpec
from quantize_lib.errors import UsageError
from quantize_lib.files import sha256_file, sha256_json

_MADE_BY_PYTHON = "__pycache__"


def command_key(spec: CommandSpec) -> str:
    """Digest of what determines a command's result beside the checkpoint: its words, and its files.

    Raises:
        UsageError: where a file cannot be read, or is neither a file nor a folder.
    """
    try:
        found = {name: [sha256_file(path), os.access(path, os.X_OK)] for name, path in _files(spec)}
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read for the test command: {error.strerror or error}"
        ) from error
    return sha256_json([list(spec.words), found])


def copy_files(spec: CommandSpec, folder: Path) -> None:
    """Put the files into the command's folder.

    Raises:
        UsageError: as `command_key`.
    """
    try:
        for name, path in _files(spec):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be copied for the test command: {error.strerror or error}"
        ) from error


def _files(spec: CommandSpec) -> Iterator[tuple[str, Path]]:
    """Every file by its path in the command's folder, in a stable order; links to files are followed."""
    for given in spec.files:
        if not given.is_dir():
            yield given.name, _regular(given)
            continue
        for place, folders, names in os.walk(given, onerror=_raise):
            folders[:] = sorted(name for name in folders if name != _MADE_BY_PYTHON)
            for name in folders:
                if Path(place, name).is_symlink():
                    raise UsageError(
                        f"{Path(place, name)} is a link to a folder, so the test command cannot have it",
                        hint="Name the folder itself in `files`.",
                    )
            for name in sorted(names):
                path = _regular(Path(place, name))
                yield path.relative_to(given.parent).as_posix(), path


def _regular(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is neither a file nor a folder, so the test command cannot have it")
    return path


def _raise(error: OSError) -> None:
    raise error
