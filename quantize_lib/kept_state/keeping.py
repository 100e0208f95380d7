"""Sends an unfinished job's state to a store while the job goes on, and brings it back before it."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from quantize_lib.errors import EngineError
from quantize_lib.files import remove_tree
from quantize_lib.job.layout import PASSES
from quantize_lib.kept_state.base import JobStore, Store, StoreError
from quantize_lib.kept_state.index import Index, KeptFile, sizes
from quantize_lib.kept_state.snapshot import (
    ChangedError,
    Snapshot,
    UnfitError,
    signature,
    take_snapshot,
)
from quantize_lib.reporting import Reporter
from quantize_lib.text import format_bytes, format_duration

_POLL_SECONDS = 0.5
_SHORTEST_REST = 120.0
"""The Hub takes so many commits an hour, and several jobs may share a repository."""
_REST = 9
"""After sending for a second so many pass without: at most a tenth of the time is spent on it."""
_SPARE_BYTES = 2 * 2**30
"""More than a job's state may be estimated to have, beside its double: what the estimate knows nothing of."""
_RESTORING = ".restoring"


class _Outcome(Enum):
    """What became of a set that was to be sent."""

    SENT = auto()
    THERE = auto()
    GIVEN_UP = auto()


class JobKeeper:
    """Keeps one job's state in a store.

    Trouble with the store is told once and never ends the job.

    Args:
        store: the store.
        job_id: the job.
        fingerprints: of its cells, by id.
        contained: whether a container writes the state.
        estimate: bytes that it is estimated to have at most.

    Attributes:
        is_ours: whether what the store has of the job was used or sent by this run.
    """

    def __init__(
        self,
        store: Store,
        job_id: str,
        *,
        fingerprints: Mapping[str, str],
        contained: bool,
        estimate: int,
        reporter: Reporter,
    ) -> None:
        self._label = store.label
        self._store: JobStore = store.job(job_id)
        self._job = job_id
        self._fingerprints = dict(fingerprints)
        self._contained = contained
        self._limit = 2 * estimate + _SPARE_BYTES
        self._reporter = reporter
        self._known: set[bytes | None] = set()
        """Sets that may be there and be ours: the one found, those sent."""
        self._sent: object = ()
        self._told: set[str] = set()
        self._taken = False
        """Whether another run keeps the same job's state there by now."""
        self._ending = threading.Event()
        self.is_ours = False

    def bring_back(self, folder: Path) -> None:
        """Put what the store has of this job where a quantizing process goes on from.

        Args:
            folder: the one that it is taken from; there is no state in it.
        """
        try:
            found = self._store.index()
            self._known.add(found)
            if found is None:
                return
            index = self._usable(found)
            started = time.monotonic()
            self._fetch(index, folder)
            self.is_ours = True
            took = format_duration(time.monotonic() - started)
            self._reporter.info(
                f"{self._job}: brought {format_bytes(index.size)} of unfinished work back from {self._label} "
                f"in {took}"
            )
        except StoreError as error:
            self._reporter.warning(
                f"{self._job} begins afresh: its state cannot be brought back from {self._label}: {error}"
            )
        except ValueError as error:
            self._reporter.warning(
                f"{self._job} begins afresh: its state in {self._label} is not used: {error}"
            )

    @contextmanager
    def following(self, root: Path) -> Iterator[None]:
        """Send what changes below `root` as long as the context lasts.

        After an error of the job what it left is sent once more; after a signal there is no time for that.
        """
        self._ending.clear()
        thread = threading.Thread(target=self._follow, args=(root,), daemon=True, name="state")
        thread.start()
        try:
            yield
        except EngineError:
            self._stop(thread)
            self._send(root, until_ended=False)
            raise
        except Exception:
            self._stop(thread)
            raise
        except BaseException:
            # Interrupted: the set before stays whole, whatever is being sent.
            self._ending.set()
            raise
        else:
            self._stop(thread)

    def remove(self) -> None:
        """Forget the job in the store: it is done, or there is nothing to go on from."""
        if self._taken:
            return
        try:
            self._store.remove()
        except StoreError as error:
            self._reporter.warning(
                f"{self._job}: its state, which nothing needs any more, stays in {self._label}: {error}"
            )

    def _stop(self, thread: threading.Thread) -> None:
        self._ending.set()
        thread.join()

    def _follow(self, root: Path) -> None:
        earliest = time.monotonic()
        while not self._ending.wait(_POLL_SECONDS):
            now = time.monotonic()
            if self._taken or now < earliest or signature(root) == self._sent:
                continue
            if self._send(root, until_ended=True):
                took = time.monotonic() - now
                earliest = time.monotonic() + max(_SHORTEST_REST, _REST * took)

    def _send(self, root: Path, *, until_ended: bool) -> bool:
        """Send the set that is there now.

        Args:
            until_ended: whether it may be given up when the job has ended.

        Returns:
            Whether that took something of the store: there was a set to send.
        """
        seen = signature(root)
        if seen == self._sent or self._taken:
            return False
        try:
            snapshot = take_snapshot(root, self._fingerprints, limit=self._limit)
            if snapshot is None:
                return False
            with snapshot:
                outcome = self._put(snapshot, self._ending.is_set if until_ended else lambda: False)
            if outcome is not _Outcome.GIVEN_UP:
                self._sent = seen
                self._told.discard("trouble")
            return outcome is _Outcome.SENT
        except ChangedError:
            # It is taken again in a moment.
            return False
        except (StoreError, UnfitError, OSError) as error:
            self._tell("trouble", f"its state cannot be kept in {self._label}: {error}. {self._means()}")
        return True

    def _put(self, snapshot: Snapshot, ended: Callable[[], bool]) -> _Outcome:
        """Bring a set there, unless `ended` says to give it up."""
        there = self._store.index()
        if self._known and there not in self._known:
            self._taken = True
            self._tell("taken", f"another run keeps its state in {self._label}. {self._means()}")
            return _Outcome.GIVEN_UP
        self.is_ours = True
        have = set(self._store.pieces())
        files: dict[str, KeptFile] = {}
        sent = 0
        for path, source in snapshot.files.items():
            names = []
            for data in source.pieces():
                if ended():
                    return _Outcome.GIVEN_UP
                name = hashlib.sha256(data).hexdigest()
                if name not in have:
                    self._store.put(name, data)
                    have.add(name)
                    sent += len(data)
                names.append(name)
            files[path] = KeptFile(size=source.size, pieces=tuple(names))
        index = Index(job=self._job, contained=self._contained, fingerprints=self._fingerprints, files=files)
        words = index.to_bytes()
        if words == there and not sent:
            # It was brought back just now.
            return _Outcome.THERE
        # Also where the answer is lost: the set may be there all the same.
        self._known |= {there, words}
        self._store.commit(words, index.pieces())
        self._known = {words}
        try:
            self._store.tidy(index.pieces())
        except StoreError as error:
            self._tell("untidy", f"what its older states took in {self._label} stays there: {error}")
        self._tell(
            "kept",
            f"its state is kept in {self._label}: {format_bytes(index.size)}, of which {format_bytes(sent)} "
            "were sent; the next sendings are not told",
            warn=False,
        )
        return _Outcome.SENT

    def _usable(self, data: bytes) -> Index:
        """The index of a set that this run can go on from.

        Raises:
            ValueError: saying why it cannot.
        """
        index = Index.parse(data)
        if index.job != self._job:
            raise ValueError(f"it is of the job {index.job!r}")
        if index.contained and not self._contained:
            raise ValueError("a container wrote it, and this run has none (--executor docker)")
        if not any(index.fingerprints.get(cell) == value for cell, value in self._fingerprints.items()):
            raise ValueError("it is of other settings or another base model")
        return index

    def _fetch(self, index: Index, folder: Path) -> None:
        """Fetch a set, and put it into the folder once all of it is there.

        Raises:
            StoreError: where it cannot be fetched, or the disk does not take it.
            ValueError: where a piece is not what its name says.
        """
        half = folder / _RESTORING
        try:
            if half.exists():
                remove_tree(half)
            half.mkdir(parents=True)
            free = shutil.disk_usage(half).free
            if index.size > free:
                raise StoreError(f"it takes {format_bytes(index.size)}, and {format_bytes(free)} are free")
            for path, file in index.files.items():
                if path.partition("/")[0] in {PASSES, *self._fingerprints}:
                    self._fetch_file(file, half / path)
            for entry in sorted(half.iterdir()):
                entry.rename(folder / entry.name)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def _fetch_file(self, file: KeptFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as to:
            for piece, size in zip(file.pieces, sizes(file.size), strict=True):
                data = self._store.get(piece, size)
                if len(data) != size or hashlib.sha256(data).hexdigest() != piece:
                    raise ValueError(f"{target.name} is damaged there")
                to.write(data)

    def _means(self) -> str:
        kept = "from the state that was kept last" if len(self._known - {None}) else "afresh"
        return f"The job goes on; were it killed on this machine, another one would begin {kept}."

    def _tell(self, what: str, message: str, *, warn: bool = True) -> None:
        """Say something of the job, once."""
        if what in self._told:
            return
        self._told.add(what)
        (self._reporter.warning if warn else self._reporter.info)(f"{self._job}: {message}")
