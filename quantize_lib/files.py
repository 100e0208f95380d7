"""Small helpers for files that several modules share."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantize_lib.text import printable

_CHUNK = 1 << 20
_TAIL_BYTES = 4000
_LINE_CHARACTERS = 300
_LFS_POINTER_BYTES = (120, 1024)
"""The least that its three lines take, and what the specification allows."""
_LFS_POINTER = re.compile(
    rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d+\r?\n"
    rb"(?:ext-[^\r\n]+\r?\n)*oid sha256:[0-9a-f]{64}\r?\nsize \d+\s*"
    rb"\Z"
)


def feed(digest: hashlib._Hash, path: Path, advance: Callable[[int], object] | None = None) -> None:
    """Add a file's bytes to a digest.

    Args:
        advance: gets the number of bytes.
    """
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if advance is not None:
                advance(count)


def last_line(log: Path, *, otherwise: str = "it said nothing") -> str:
    """The last line that a process printed, for a message; its whole output may be of any length.

    Args:
        otherwise: where it printed nothing.
    """
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = printable(file.read().decode("utf-8", errors="replace")).strip().splitlines()
    return lines[-1][:_LINE_CHARACTERS] if lines else otherwise


def git_blob(size: int) -> hashlib._Hash:
    """The digest that becomes git's id of a content of this size, once that is added.

    https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    """
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def may_be_lfs_pointer(size: int) -> bool:
    """Whether a file of so many bytes can be a Git LFS pointer."""
    return _LFS_POINTER_BYTES[0] <= size < _LFS_POINTER_BYTES[1]


def is_lfs_pointer(file: Path | bytes) -> bool:
    """Whether a file, or a file's bytes, is a Git LFS pointer: what git leaves where LFS did not fetch it.

    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: under 1024 bytes, the version first.

    Args:
        file: a regular file's path, or the bytes; of a longer file the first 1024 are enough.

    Raises:
        OSError: where the file cannot be read.
    """
    if isinstance(file, Path):
        if not may_be_lfs_pointer(file.stat().st_size):
            return False
        file = file.read_bytes()
    return may_be_lfs_pointer(len(file)) and _LFS_POINTER.match(file) is not None


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    feed(digest, path)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Room:
    """Bytes of a disk, kept for what has to be written when all others are taken.

    Args:
        path: of the file that keeps them.
        size: in bytes. A disk that does not have them is full already, which others will tell.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        with suppress(OSError):
            path.write_bytes(bytes(size))

    def release(self) -> None:
        """Give them back."""
        self._path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new content, never half.

    Half of a surrogate pair, as a path that is no UTF-8 has it, becomes its escape, which JSON reads again.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, of bytes; they are on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; what we write is as readable as the user's umask allows.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def to_json(value: Any) -> str:
    """Indented JSON as it is written to files; keys keep their order."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, to_json(value))


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        OSError: where it cannot be read.
        ValueError: where it is not JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def remove_tree(folder: Path) -> None:
    """Remove a folder whatever foreign code made of it: any depth, any mode; links are not followed.

    Nothing may be at work in it any more. `shutil.rmtree` ends at a thousand levels, at paths that are longer
    than the system takes, and at folders without permissions.

    Raises:
        OSError: where something belongs to another user.
    """
    pending = [folder]
    while pending:
        current = pending.pop()
        current.chmod(0o700)
        with os.scandir(current) as found:
            entries = list(found)
        for entry in entries:
            path = Path(entry.path)
            if not entry.is_dir(follow_symlinks=False):
                path.unlink()
                continue
            # Only what may be written can be moved; and moved up, so that no path gets long.
            path.chmod(0o700)
            pending.append(path if current == folder else path.rename(folder / uuid.uuid4().hex))
        if current != folder:
            current.rmdir()
    folder.rmdir()


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity; what is not finite is not a figure."""
    return value if math.isfinite(value) else None
