"""A test command as it is asked for, what came of it, and the keys of the limits on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = "test_command"
"""The key in the manifest's `evaluate`, in plan and report; and that of the limit which every command brings:
it has to pass."""
MIN = "min"
MAX = "max"
LIMITS = (MIN, MAX)
"""The keys of a figure's limits in the manifest."""


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command to run on each checkpoint.

    Attributes:
        words: the program and its arguments; no shell reads them.
        files: absolute paths of the files and folders that it finds in its current folder, each by its own
            name.
        timeout: seconds that it may take.
    """

    words: tuple[str, ...]
    files: tuple[Path, ...] = ()
    timeout: int


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a command gave for a checkpoint.

    Attributes:
        exit_code: None where it did not come to an end of its own.
        fault: why it did not pass, as a sentence goes on after "the test command"; None where it did.
        figures: what it measured, by names of its own.
        seconds: wall time.
        key: digest of the command and its files (`files.command_key`).
    """

    exit_code: int | None
    fault: str | None
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float
    key: str


def command_limit_key(figure: str, limit: str) -> str:
    """A limit's key among all limits of a gate: `test_command.accuracy.min`."""
    return f"{COMMAND}.{figure}.{limit}"


def is_command_limit(key: str) -> bool:
    """Whether a limit of a gate is the command's: that it passes, or one on a figure."""
    return key == COMMAND or (key.startswith(f"{COMMAND}.") and key.rpartition(".")[2] in LIMITS)


def split_limit(key: str) -> tuple[str, str]:
    """The figure's name, and which limit on it."""
    figure, _, kind = key.removeprefix(f"{COMMAND}.").rpartition(".")
    return figure, kind
