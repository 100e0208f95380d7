"""A consistent set of a job's state, taken while another process writes it.

The quantizing process writes so that a kill at any moment leaves something to go on from: a pass's
`progress.json` names files that are whole, and is replaced at once. So a set is what one `progress.json`
describes: it is read, what it names is opened, and it is read again; where it is another one by then, all of
that is done anew. Open files stay as they are when the other process removes their names, and of a shard, to
which is only appended, no more is read than was described.

The folder may belong to a container, hence to foreign code: every folder on the way is opened without
following links, only regular files are read, and there are limits to their number and size.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from quantize_lib.job.layout import FINISHED_FILE, LOCK_FILE, PASSES, PROGRESS_FILE
from quantize_lib.kept_state.index import MAX_FILES, PIECE_BYTES, path_fault
from quantize_lib.text import format_bytes

MAX_WORDS_BYTES = 64 * 2**20
"""Of a file that says what there is."""
_TRIES = 5
_SMALL_BYTES = 64 * 2**10
"""Of such a file the bytes are kept, of a larger one the open file: there may be but so many."""
_DEPTH = 2
"""Folders in one another in a checkpoint, itself counted."""


class ChangedError(Exception):
    """The other process was at it: the same may succeed a little later."""


class UnfitError(Exception):
    """What lies there cannot be kept; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of the set: bytes that were read, or the beginning of an open file."""

    size: int
    descriptor: int | None = None
    data: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, `PIECE_BYTES` at a time.

        Raises:
            ChangedError: where the file is shorter than it was.
        """
        for start in range(0, self.size, PIECE_BYTES):
            wanted = min(PIECE_BYTES, self.size - start)
            piece = self.data[start : start + wanted]
            if self.descriptor is not None:
                piece = _read(self.descriptor, start, wanted)
            if len(piece) != wanted:
                raise ChangedError
            yield piece


@dataclass(kw_only=True)
class Snapshot:
    """An open set; leaving its context closes the files.

    Attributes:
        files: by path, relative to the root.
    """

    files: dict[str, Source] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def keep(self, opened: ExitStack) -> None:
        """Close a file with the others."""
        self._open.push(opened)


def take_snapshot(root: Path, cells: Mapping[str, object], *, limit: int) -> Snapshot | None:
    """The set that is there now.

    Args:
        root: the folder that the quantizing process writes to.
        cells: of the job, by id.
        limit: bytes that the set may have.

    Returns:
        None where there is nothing to go on from yet.

    Raises:
        ChangedError: where the other process was faster several times in a row.
        UnfitError: where it holds what no state holds, or too much.
        OSError: where it cannot be read.
    """
    for _ in range(_TRIES):
        taking = _Taking(cells, limit)
        try:
            if taking.take(root):
                return taking.snapshot
        except (ChangedError, FileNotFoundError):
            taking.snapshot.__exit__()
            continue
        except BaseException:
            taking.snapshot.__exit__()
            raise
        taking.snapshot.__exit__()
        return None
    raise ChangedError


def signature(root: Path) -> tuple[object, ...]:
    """Something that is another one after every change of what says how far the job is."""
    found: list[tuple[object, ...]] = []
    with suppress(OSError):
        for entry in sorted((root / PASSES).iterdir())[:MAX_FILES]:
            for path in (entry, entry / PROGRESS_FILE):
                with suppress(OSError):
                    status = path.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


class _Taking:
    """One attempt."""

    def __init__(self, cells: Mapping[str, object], limit: int) -> None:
        self.snapshot = Snapshot()
        self._cells = cells
        self._left = limit

    def take(self, root: Path) -> bool:
        """Whether there is something to go on from; then it is in `snapshot`."""
        with ExitStack() as folders:
            top = _folder(folders, str(root), None)
            passes = _folder(folders, PASSES, top)
            words = self._words(folders, passes)
            for path, data in words.items():
                self._add(f"{PASSES}/{path}", Source(size=len(data), data=data))
            finished = self._finished(words.get(FINISHED_FILE))
            for path, data in words.items():
                number, _, name = path.partition("/")
                if name == PROGRESS_FILE:
                    folder = _folder(folders, number, passes)
                    self._pass(folders, folder, number, _json(data), finished)
            for cell in finished:
                with suppress(FileNotFoundError):
                    # Where the host has it already there is none.
                    self._checkpoint(folders, top, cell)
            for name in _names(passes):
                if not name.startswith(".") and name not in (LOCK_FILE, FINISHED_FILE):
                    self._beside(passes, name)
            if self._words(folders, passes) != words:
                raise ChangedError
            return any(path.endswith(".json") for path in self.snapshot.files)

    def _words(self, folders: ExitStack, passes: int) -> dict[str, bytes]:
        """What says what there is: `finished.json` and every pass's `progress.json`, by path."""
        names = [FINISHED_FILE]
        numbers = [name for name in _names(passes) if name.isascii() and name.isdecimal()]
        names += [f"{number}/{PROGRESS_FILE}" for number in sorted(numbers)]
        if len(names) > MAX_FILES:
            raise UnfitError(f"it has more than {MAX_FILES:,} files")
        found: dict[str, bytes] = {}
        for path in names:
            number, slash, name = path.rpartition("/")
            with suppress(FileNotFoundError):
                folder = _folder(folders, number, passes) if slash else passes
                descriptor = _regular(folder, name)
                try:
                    if os.fstat(descriptor).st_size > MAX_WORDS_BYTES:
                        raise UnfitError(f"{path} has more than {format_bytes(MAX_WORDS_BYTES)}")
                    found[path] = _read(descriptor, 0, MAX_WORDS_BYTES)
                finally:
                    os.close(descriptor)
        return found

    def _finished(self, data: bytes | None) -> list[str]:
        """The cells that came out of their pass."""
        if data is None:
            return []
        try:
            return [cell for cell in _json(data)["cells"] if cell in self._cells]
        except (KeyError, TypeError) as error:
            raise UnfitError(f"{FINISHED_FILE} is damaged") from error

    def _pass(self, folders: ExitStack, folder: int, number: str, progress: Any, finished: list[str]) -> None:
        """What a pass's `progress.json` names."""
        try:
            hidden, size = str(progress["hidden"]["file"]), int(progress["hidden"]["size"])
            shards = {
                cell: words["shards"]
                for cell, words in progress["cells"].items()
                if words["shards"] is not None and cell in self._cells and cell not in finished
            }
            described = {cell: list(_described(kept)) for cell, kept in shards.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnfitError(f"{PROGRESS_FILE} is damaged") from error
        self._open(folder, hidden, f"{PASSES}/{number}/{hidden}", _cut(size, whole=True))
        for cell, parts in described.items():
            inside = _folder(folders, cell, folder)
            for index, (length, whole) in enumerate(parts, 1):
                name = f"part-{index:05d}.safetensors"
                self._open(inside, name, f"{PASSES}/{number}/{cell}/{name}", _cut(length, whole=whole))

    def _checkpoint(self, folders: ExitStack, parent: int, path: str, depth: int = 1) -> None:
        """Everything in a finished cell's folder."""
        name = path.rpartition("/")[2]
        folder = _folder(folders, name, parent)
        for entry in _names(folder):
            status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and depth < _DEPTH:
                self._checkpoint(folders, folder, f"{path}/{entry}", depth + 1)
            else:
                self._open(folder, entry, f"{path}/{entry}", lambda there: there)

    def _beside(self, passes: int, name: str) -> None:
        """What else a job keeps for all of its passes, such as the proof of the walk."""
        if stat.S_ISREG(os.stat(name, dir_fd=passes, follow_symlinks=False).st_mode):
            self._open(passes, name, f"{PASSES}/{name}", lambda there: there)

    def _open(self, folder: int, name: str, path: str, size: Callable[[int], int | None]) -> None:
        """Open a file of the set.

        Args:
            size: how much of it belongs to the set, by its own size; None where it is not the one that was
                described.
        """
        fault = path_fault(path, self._cells)
        if fault is not None or "/" in name:
            raise UnfitError(f"it holds the file {path!r}, and {fault or 'that is a path'}")
        with ExitStack() as opened:
            descriptor = _regular(folder, name)
            opened.callback(os.close, descriptor)
            wanted = size(os.fstat(descriptor).st_size)
            if wanted is None:
                raise ChangedError
            if wanted > _SMALL_BYTES:
                self._add(path, Source(size=wanted, descriptor=descriptor))
                self.snapshot.keep(opened.pop_all())
            elif len(data := _read(descriptor, 0, wanted)) == wanted:
                self._add(path, Source(size=wanted, data=data))
            else:
                raise ChangedError

    def _add(self, path: str, source: Source) -> None:
        self._left -= source.size
        if self._left < 0:
            raise UnfitError("it takes more room than a state of this job can")
        if len(self.snapshot.files) >= MAX_FILES:
            raise UnfitError(f"it has more than {MAX_FILES:,} files")
        self.snapshot.files[path] = source


def _described(shards: Mapping[str, Any]) -> Iterator[tuple[int, bool]]:
    """The length of each shard of a cell, and whether that is all of it."""
    for closed in shards["closed"]:
        yield int(closed["size"]), True
    current = shards["current"]
    if current is not None:
        # Room that was skipped for the header does not make the file longer before a tensor comes behind it.
        yield int(current["length"]), False


def _cut(length: int, *, whole: bool) -> Callable[[int], int | None]:
    def size(there: int) -> int | None:
        if whole:
            return length if there == length else None
        return min(there, length)

    return size


def _folder(folders: ExitStack, name: str, parent: int | None) -> int:
    """A folder, opened where no link leads; it is closed with the others."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnfitError(f"{name!r} is no folder that can be read ({error.strerror})") from error
    folders.callback(os.close, descriptor)
    return descriptor


def _names(folder: int) -> list[str]:
    """Of everything in an open folder."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found)


def _regular(folder: int, name: str) -> int:
    """A regular file, opened for reading."""
    try:
        # Not waiting for the other end of a pipe.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnfitError(f"{name!r} is no file that can be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitError(f"{name!r} is no regular file")
    return descriptor


def _read(descriptor: int, start: int, count: int) -> bytes:
    """Bytes of a file from `start`, fewer where it ends."""
    found: list[bytes] = []
    while count > 0 and (data := os.pread(descriptor, min(count, 2**30), start)):
        found.append(data)
        start += len(data)
        count -= len(data)
    return found[0] if len(found) == 1 else b"".join(found)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnfitError("what says how far it is cannot be read") from error
