"""Problems of a manifest: found one by one and reported together, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from quantize_lib.errors import ManifestError
from quantize_lib.wording import SHOWN

Path = tuple[str | int, ...]
"""Where a value stands: `("models", 0, "quantize", 1, "bits")`."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem, with the place to look at.

    Attributes:
        place: `quantize.yml`, or the name of an option of the command line.
        line: counted from 1; 0 where there is no line (a missing file, the command line).
        column: counted from 1; 0 where there is none.
        message: what is wrong, with the path inside the manifest, and what is allowed.
    """

    place: str
    line: int = 0
    column: int = 0
    message: str

    def __str__(self) -> str:
        position = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.place}{position}: {self.message}"


class InvalidManifestError(ManifestError):
    """The manifest is wrong; `problems` holds every problem found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(map(str, self.problems)), hint=hint)


def show_path(path: Path) -> str:
    """`models[0].quantize[1].bits`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if part.isprintable() and len(part) <= SHOWN else json.dumps(part[:SHOWN])
            text += f".{key}" if text else key
    return text
