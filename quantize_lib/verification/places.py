"""Where a checkpoint lies: a folder, or a repository on the Hub at one commit.

Of a repository on the Hub only small files are downloaded: a large one's sha256 is in the Hub's own list.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from quantize_lib.card.shared import Part
from quantize_lib.card.state import parts_told
from quantize_lib.errors import CheckpointError
from quantize_lib.files import sha256_file
from quantize_lib.formats import is_weight_file
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.explanations import reading_errors
from quantize_lib.hub.remote_files import TooLargeError, fetch_file, read_small
from quantize_lib.hub.retry import READING
from quantize_lib.parts import parts_in, place_in
from quantize_lib.report.records import CARD_FILE, RECORD_FILE
from quantize_lib.source import resolve
from quantize_lib.source.model_spec import ModelSpec

if TYPE_CHECKING:
    from quantize_lib.source import Resolved

MAX_BYTES = 2**26
"""Of a file that is read whole: a report names every file and every layer."""
_LEFT_OUT = (".git", ".cache")
"""Folders beside a checkpoint's files that git and `hf download --local-dir` make."""


class Place(ABC):
    """Where a checkpoint lies.

    Attributes:
        label: for messages.
    """

    label: str

    def parts(self, scratch: Path) -> tuple[PartPlace, ...]:
        """Its checkpoints, where it is a repository that holds several; none where it holds one.

        Args:
            scratch: an empty folder, in which they may be put together.
        """
        names = self.sizes()
        if CARD_FILE not in names:
            return ()
        told = parts_told(self.read(CARD_FILE).decode("utf-8", errors="replace"))
        return tuple(PartPlace(self, name, scratch / name) for name in parts_in(names, told))

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by relative POSIX path."""

    @abstractmethod
    def sha256(self, name: str) -> str:
        """Hex sha256 of a file.

        Raises:
            CheckpointError, SourceError: where it cannot be read.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole small file.

        Raises:
            CheckpointError, SourceError: where it cannot be read, or has more than `MAX_BYTES`.
        """

    @abstractmethod
    def bring(self, names: Collection[str]) -> Path:
        """The folder on this machine that holds these files; from then on they are read and hashed there.

        Args:
            names: at least one.

        Raises:
            SourceError: where they cannot be downloaded.
        """


class LocalPlace(Place):
    """A folder. Links to files are followed: the Hub's own cache consists of them."""

    def __init__(self, folder: Path) -> None:
        self.label = str(folder)
        self._folder = folder

    def sizes(self) -> Mapping[str, int]:
        """See `Place`. What is no file has -1 bytes."""
        try:
            return dict(self._sizes())
        except OSError as error:
            raise self._unreadable(error) from error

    def _sizes(self) -> Iterator[tuple[str, int]]:
        pending = [PurePosixPath()]
        while pending:
            inside = pending.pop()
            with os.scandir(self._folder / inside) as entries:
                for entry in entries:
                    path = inside / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if str(path) not in _LEFT_OUT:
                            pending.append(path)
                        continue
                    try:
                        found = entry.stat()
                    except FileNotFoundError:
                        # A link that leads nowhere.
                        yield str(path), -1
                        continue
                    yield str(path), found.st_size if stat.S_ISREG(found.st_mode) else -1

    def sha256(self, name: str) -> str:
        """See `Place`."""
        try:
            return sha256_file(self._folder / name)
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, name: str) -> bytes:
        """See `Place`."""
        path = self._folder / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(data) > MAX_BYTES:
            raise _too_large(self.label, name)
        return data

    def bring(self, names: Collection[str]) -> Path:  # noqa: ARG002
        """See `Place`: they are there."""
        return self._folder

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self.label} cannot be read: {error.strerror or error}")


class PartPlace(Place):
    """One checkpoint of a repository that holds several.

    Args:
        whole: the repository.
        name: of the part.
        folder: in which it can be put together.
    """

    def __init__(self, whole: Place, name: str, folder: Path) -> None:
        self.label = f"{name} in {whole.label}"
        self._whole = whole
        self._name = name
        self._folder = folder

    def sizes(self) -> Mapping[str, int]:
        """See `Place`. Of the weights at the top those that its report names are its own."""
        every = self._whole.sizes()
        return {name: every[path] for name, path in self._paths.items()}

    def lie(self) -> Collection[str]:
        """Where its files lie in the repository."""
        return self._paths.values()

    @cached_property
    def _paths(self) -> Mapping[str, str]:
        every = self._whole.sizes()
        try:
            record = json.loads(self.read(RECORD_FILE))
        except (ValueError, RecursionError):
            # Who reads the report says so.
            record = None
        weights = Part(name=self._name, record=record if isinstance(record, dict) else {}).weights
        inside = [path.removeprefix(f"{self._name}/") for path in every if path.startswith(f"{self._name}/")]
        # Weights lie at the top; any that lie in the folder belong to nothing.
        names = (*(name for name in inside if not is_weight_file(name)), *weights)
        return {name: path for name in names if (path := place_in(self._name, name)) in every}

    def sha256(self, name: str) -> str:
        """See `Place`."""
        return self._whole.sha256(place_in(self._name, name))

    def read(self, name: str) -> bytes:
        """See `Place`."""
        return self._whole.read(place_in(self._name, name))

    def bring(self, names: Collection[str]) -> Path:
        """See `Place`: as links."""
        lies = {name: place_in(self._name, name) for name in names}
        top = self._whole.bring(lies.values())
        for name, path in lies.items():
            link = self._folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to((top / path).resolve())
        return self._folder


class HubPlace(Place):
    """A repository on the Hub at the commit that a revision stands for now; one request.

    Args:
        repository: `namespace/name`.
        revision: a branch, a tag or a commit.

    Raises:
        SourceError: where it cannot be reached, is not ours to read, or has no such revision.
    """

    def __init__(self, repository: str, revision: str) -> None:
        spec = ModelSpec(id=repository, name=repository, revision=revision)
        self._resolved: Resolved = resolve(spec, token=None)
        self._repository = repository
        self._commit = self._resolved.revision
        self._folder: Path | None = None
        self._brought: frozenset[str] = frozenset()
        self.label = f"{repository} at {self._commit}"

    def sizes(self) -> Mapping[str, int]:
        """See `Place`."""
        return {name: file.size for name, file in self._resolved.files.items()}

    def sha256(self, name: str) -> str:
        """See `Place`. A large file is not downloaded for it."""
        if self._folder is not None and name in self._brought:
            return LocalPlace(self._folder).sha256(name)
        listed = self._resolved.files[name].sha256
        return listed or hashlib.sha256(self.read(name)).hexdigest()

    def read(self, name: str) -> bytes:
        """See `Place`."""
        if self._folder is not None and name in self._brought:
            return LocalPlace(self._folder).read(name)
        with self._explained():
            try:
                return read_small(
                    hub_client(read_token()),
                    self._repository,
                    name,
                    self._commit,
                    limit=MAX_BYTES,
                    retry=READING,
                )
            except TooLargeError:
                raise _too_large(self.label, name) from None

    def bring(self, names: Collection[str]) -> Path:
        """See `Place`: into the Hub's own cache (HF_HOME)."""
        client = hub_client(read_token())
        for name in names:
            if name in self._brought:
                continue
            with self._explained():
                path = fetch_file(client, self._repository, name, self._commit, retry=READING)
            self._folder = path.parents[name.count("/")]
            self._brought |= {name}
        assert self._folder is not None, "a checkpoint has files"
        return self._folder

    def _explained(self) -> AbstractContextManager[None]:
        return reading_errors(self._repository, self._commit, alternative=_DOWNLOADED)


_DOWNLOADED = "A folder that it was downloaded to can be verified, too."


def _too_large(label: str, name: str) -> CheckpointError:
    return CheckpointError(f"{label}: {name} has more than {MAX_BYTES} bytes")
