"""The one family of exceptions that `main` turns into a message and an exit code.

Everything else that escapes is a bug of ours (exit code 1). A message says what is wrong and where;
`hint` says what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes that other programs script against."""

    OK = 0
    BUG = 1
    USAGE = 2
    CELL_FAILED = 3
    GATE_MISSED = 4
    PUBLISH_FAILED = 5
    INTERRUPTED = 130


class QuantizerError(Exception):
    """An error that the user can act on.

    Args:
        message: What is wrong and where.
        hint: What is allowed or what to do next; shown on a line of its own.
    """

    exit_code: ExitCode = ExitCode.CELL_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(QuantizerError):
    """The command line is wrong, or asks for what this machine cannot do."""

    exit_code = ExitCode.USAGE


class ManifestError(UsageError):
    """The manifest is wrong; carries every problem found, each with its place."""


class SourceError(QuantizerError):
    """The base model or its files cannot be used: missing, damaged or unsupported."""


class CalibrationError(QuantizerError):
    """The calibration or evaluation text cannot be used."""


class EngineError(QuantizerError):
    """Quantizing a cell cannot go on: non-finite weights, a factorization that never succeeds."""


class CheckpointError(QuantizerError):
    """A checkpoint cannot be written, or is not what was written."""


class EvaluationError(QuantizerError):
    """A checkpoint cannot be reloaded, or says something else than the pass did."""


class PublishError(QuantizerError):
    """A checkpoint cannot be published."""

    exit_code = ExitCode.PUBLISH_FAILED
