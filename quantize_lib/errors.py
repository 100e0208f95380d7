"""The one family of exceptions that `main` turns into a message and an exit code.

Everything else that escapes is a bug of ours (exit code 1). A message says what is wrong and where;
`hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit codes that other programs script against."""

    OK = 0
    BUG = 1
    USAGE = 2
    CELL_FAILED = 3
    GATE_MISSED = 4
    PUBLISH_FAILED = 5
    INTERRUPTED = 130


class ErrorCode(StrEnum):
    """Why a cell is not what was asked for, for programs, beside the text. Codes are only ever added.

    Attributes:
        meaning: for the documents.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> ErrorCode:
        """A member that is its value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    USAGE = "usage", "The command line is wrong, or what it asks of this machine or model cannot be done."
    MANIFEST = "manifest", "The manifest is wrong."
    SOURCE = "source", "The base model cannot be used: missing, damaged or unsupported."
    CALIBRATION = "calibration", "The calibration text or the held-out text cannot be used."
    ENGINE = "engine", "Quantizing could not go on, or the process that did it ended."
    CHECKPOINT = "checkpoint", "The checkpoint could not be written, or holds what it must not."
    EVALUATION = "evaluation", "The checkpoint, or the base model beside it, could not be loaded again."
    GATE = "gate", "A limit of the manifest was missed."
    PUBLISH = "publish", "The checkpoint could not be published."
    INTERRUPTED = "interrupted", "A signal ended the run."
    NOT_STARTED = "not_started", "The run ended before the cell's turn."
    OTHER = "other", "Anything else."


class QuantizerError(Exception):
    """An error that the user can act on.

    Args:
        message: What is wrong and where.
        hint: What is allowed or what to do next; shown on a line of its own.
    """

    exit_code: ExitCode = ExitCode.CELL_FAILED
    code: ErrorCode = ErrorCode.OTHER

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(QuantizerError):
    """The command line is wrong, or asks for what this machine cannot do."""

    exit_code = ExitCode.USAGE
    code = ErrorCode.USAGE


class ManifestError(UsageError):
    """The manifest is wrong; carries every problem found, each with its place."""

    code = ErrorCode.MANIFEST


class SourceError(QuantizerError):
    """The base model or its files cannot be used: missing, damaged or unsupported."""

    code = ErrorCode.SOURCE


class CalibrationError(QuantizerError):
    """The calibration or evaluation text cannot be used."""

    code = ErrorCode.CALIBRATION


class EngineError(QuantizerError):
    """Quantizing a cell cannot go on: non-finite weights, a factorization that never succeeds."""

    code = ErrorCode.ENGINE


class CheckpointError(QuantizerError):
    """A checkpoint cannot be written, or is not what was written."""

    code = ErrorCode.CHECKPOINT


class EvaluationError(QuantizerError):
    """A checkpoint cannot be reloaded, or its figures are not those of the pass."""

    code = ErrorCode.EVALUATION


class PublishError(QuantizerError):
    """A checkpoint cannot be published."""

    exit_code = ExitCode.PUBLISH_FAILED
    code = ErrorCode.PUBLISH


_KINDS: Mapping[str, type[QuantizerError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        ManifestError,
        SourceError,
        CalibrationError,
        EngineError,
        CheckpointError,
        EvaluationError,
        PublishError,
    )
}


def code_of(value: str) -> ErrorCode:
    """A code by its value; one that only another version knows is `other`."""
    return ErrorCode(value) if value in set(ErrorCode) else ErrorCode.OTHER


def error_of(code: str, message: str, *, hint: str | None = None) -> QuantizerError:
    """An error as it was in another process, by its code; an unknown one is the family's own."""
    return _KINDS.get(code, QuantizerError)(message, hint=hint)
