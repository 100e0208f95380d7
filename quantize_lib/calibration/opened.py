"""A file that is being read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A file and what is wanted of it.

    Attributes:
        path: of the file; for messages, and for what cannot be read as a stream.
        name: what it is called inside its packing.
        unpack: the command that unpacks it to standard output; empty where it is not packed.
        stream: its text in UTF-8, unpacked.
        column: where the text of a row is.
        limit: characters that are enough.
        note: takes what the user should know, a sentence without its full stop.
    """

    path: Path
    name: str
    unpack: str
    stream: io.BufferedReader
    column: str
    limit: int
    note: Callable[[str], None]
