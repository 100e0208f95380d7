"""What a process or a container is asked to run, and its answer, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.command.figures import FiguresError, checked_figures

_MAX_PROBLEM = 500


@dataclass(frozen=True, kw_only=True)
class CommandQuestion:
    """A command, and where it runs.

    Attributes:
        words: with placeholders.
        checkpoint: the folder that it is about; None only to ask whether the program is there.
        folder: its current folder.
        figures: the file that it may write.
        timeout: in seconds.
    """

    words: tuple[str, ...]
    checkpoint: Path | None
    folder: Path
    figures: Path
    timeout: float

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        paths = {name: getattr(self, name) for name in ("checkpoint", "folder", "figures")}
        return {
            "command": list(self.words),
            **{name: None if path is None else str(path) for name, path in paths.items()},
            "timeout": self.timeout,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CommandQuestion:
        """What `to_json` wrote."""
        return cls(
            words=tuple(data["command"]),
            checkpoint=None if data["checkpoint"] is None else Path(data["checkpoint"]),
            folder=Path(data["folder"]),
            figures=Path(data["figures"]),
            timeout=data["timeout"],
        )


@dataclass(frozen=True, kw_only=True)
class CommandAnswer:
    """How a command ended.

    Attributes:
        exit_code: None where it did not come to an end of its own.
        problem: what went wrong beside the exit code, as a sentence goes on after "the test command".
        figures: by their names.
        seconds: wall time.
    """

    exit_code: int | None = None
    problem: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> CommandAnswer:
        """The answer that a container left; it is foreign.

        Raises:
            ValueError: where it is no answer.
        """
        try:
            code, problem = data["exit_code"], data["problem"]
            if not (code is None or type(code) is int) or not (problem is None or isinstance(problem, str)):
                raise ValueError("no such exit code or problem")
            return cls(
                exit_code=code,
                problem=None if problem is None else problem[:_MAX_PROBLEM],
                figures=checked_figures(data["figures"]),
                seconds=float(data["seconds"]),
            )
        except (KeyError, TypeError, OverflowError, FiguresError) as error:
            raise ValueError(f"it is no answer: {error}") from error
