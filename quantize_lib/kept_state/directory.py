"""State in a folder: one folder a job, with the pieces as files and an index that is replaced at once."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from quantize_lib.errors import UsageError
from quantize_lib.files import remove_tree, write_bytes
from quantize_lib.kept_state.base import JobStore, Store, StoreError
from quantize_lib.kept_state.index import MAX_INDEX_BYTES
from quantize_lib.state_stores import StateSpec
from quantize_lib.state_stores.directory import PATH

_INDEX = "state.json"
_PIECES = "pieces"


class DirectoryStore(Store):
    """A folder that outlives the machine."""

    def __init__(self, spec: StateSpec) -> None:
        super().__init__(spec)
        self._folder = spec[PATH]

    def check(self) -> None:
        """See `Store`: a file is written there and removed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as probe:
                probe.write(b"state")
        except OSError as error:
            raise UsageError(
                f"state: {self._folder} cannot be written: {error.strerror or error}",
                hint=f"Name another folder in state.{PATH.name}, or give --no-state.",
            ) from None

    def job(self, job_id: str) -> JobStore:
        """See `Store`."""
        return _JobFolder(self._folder / job_id)


class _JobFolder(JobStore):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pieces = folder / _PIECES

    def index(self) -> bytes | None:
        with _explained():
            try:
                with (self._folder / _INDEX).open("rb") as file:
                    return file.read(MAX_INDEX_BYTES)
            except FileNotFoundError:
                return None

    def pieces(self) -> Collection[str]:
        with _explained():
            try:
                # Half a piece has a dot before its name.
                return {path.name for path in self._pieces.iterdir() if not path.name.startswith(".")}
            except FileNotFoundError:
                return set()

    def get(self, piece: str, size: int) -> bytes:
        with _explained(), (self._pieces / piece).open("rb") as file:
            return file.read(size + 1)

    def put(self, piece: str, data: bytes) -> None:
        with _explained():
            write_bytes(self._pieces / piece, data)

    def commit(self, index: bytes, pieces: Collection[str]) -> None:
        if lost := set(pieces) - set(self.pieces()):
            raise StoreError(f"{len(lost)} of its files were removed meanwhile")
        with _explained():
            write_bytes(self._folder / _INDEX, index)

    def tidy(self, pieces: Collection[str]) -> None:
        with _explained():
            for path in self._pieces.iterdir():
                if path.name not in pieces:
                    path.unlink()

    def remove(self) -> None:
        with _explained():
            # First what makes it a set.
            (self._folder / _INDEX).unlink(missing_ok=True)
            if self._folder.exists():
                remove_tree(self._folder)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
