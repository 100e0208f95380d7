"""What every state store offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from quantize_lib.registry import load
from quantize_lib.state_stores import StateSpec, get_state_store, state_label


class StoreError(Exception):
    """A store cannot be read or written; its text says why. It never ends a job."""


class Store(ABC):
    """A state store.

    Args:
        spec: what the manifest says.

    Attributes:
        label: what it is, for people.
    """

    def __init__(self, spec: StateSpec) -> None:
        self.label = state_label(spec)

    @abstractmethod
    def check(self) -> None:
        """See that state can be kept there, before anything is downloaded or computed.

        Raises:
            UsageError: where it cannot, or must not.
        """

    @abstractmethod
    def job(self, job_id: str) -> JobStore:
        """A job's place in it; nothing is asked or made for that."""


class JobStore(ABC):
    """One job's place in a store: pieces of files, named by their sha256, and an index that names them.

    Whoever reads it sees one whole set, the old or the new one, at any moment. Its methods raise a
    `StoreError` where the store cannot be read or written.
    """

    @abstractmethod
    def index(self) -> bytes | None:
        """The index of the set that is kept there now; None where there is none."""

    @abstractmethod
    def pieces(self) -> Collection[str]:
        """The names of the pieces that are there now; some of them may belong to no set."""

    @abstractmethod
    def get(self, piece: str, size: int) -> bytes:
        """The bytes of a piece, at most `size` and one; they have still to be compared with its name."""

    @abstractmethod
    def put(self, piece: str, data: bytes) -> None:
        """Bring a piece there, for the next `commit`."""

    @abstractmethod
    def commit(self, index: bytes, pieces: Collection[str]) -> None:
        """Put a set in the place of the one before.

        Args:
            index: names the pieces.
            pieces: their names; each is there, or was put.
        """

    @abstractmethod
    def tidy(self, pieces: Collection[str]) -> None:
        """Remove the pieces that are not among those, so that the store does not grow."""

    @abstractmethod
    def remove(self) -> None:
        """Remove everything of this job; where there is nothing, nothing is done."""


def get_store(spec: StateSpec) -> Store | None:
    """The store that a manifest names; None where that is the output folder alone."""
    keeper = get_state_store(spec.store).keeper
    if keeper is None:
        return None
    store: Store = load(keeper)(spec)
    return store
