"""Where everything that a person should see goes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """One running progress bar."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""


class Reporter(Protocol):
    """Where everything that a person should see goes; made by the command line."""

    def info(self, message: str) -> None:
        """A plain line."""

    def warning(self, message: str) -> None:
        """Something that needs attention but stops nothing."""

    def error(self, message: str) -> None:
        """Something that failed."""

    def group(self, title: str) -> AbstractContextManager[None]:
        """A foldable part of the log."""

    def progress(self, title: str, total: int, unit: str) -> AbstractContextManager[Progress]:
        """A bar with rate and time left; `unit` as in `block` or `B` for bytes."""


class Interrupted(BaseException):
    """SIGTERM; like KeyboardInterrupt not an Exception, so that nothing on the way swallows it."""
