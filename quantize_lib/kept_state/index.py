"""The index of a kept set: its files, each as the pieces that it is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from quantize_lib import __version__
from quantize_lib.job.layout import PASSES

PIECE_BYTES = 64 * 2**20
"""A file is cut into pieces of this size, the last one shorter; what was sent before is not sent again."""
MAX_INDEX_BYTES = 64 * 2**20
MAX_FILES = 10_000
_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DEPTH = 4
_LONGEST_PART = 255


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file of the set: its size in bytes, and the sha256 of each of its pieces in order."""

    size: int
    pieces: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Index:
    """A kept set.

    Attributes:
        job: the job's id.
        contained: whether a container wrote it, so that it is foreign.
        fingerprints: of the job's cells, by id.
        files: by path, relative to the folder that the quantizing process writes to.
    """

    job: str
    contained: bool
    fingerprints: Mapping[str, str]
    files: Mapping[str, KeptFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def pieces(self) -> frozenset[str]:
        """The names of all pieces."""
        return frozenset(piece for file in self.files.values() for piece in file.pieces)

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return json.dumps(
            {
                "format": _FORMAT,
                "version": __version__,
                "job": self.job,
                "contained": self.contained,
                "fingerprints": dict(self.fingerprints),
                "piece_bytes": PIECE_BYTES,
                "files": {
                    path: {"size": file.size, "pieces": list(file.pieces)}
                    for path, file in self.files.items()
                },
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """What `to_bytes` gave, from whoever can write to the store.

        Raises:
            ValueError: where it is none, or of another version of this tool.
        """
        try:
            read = json.loads(data)
            if (read["format"], read["piece_bytes"]) != (_FORMAT, PIECE_BYTES):
                raise ValueError("another version of this tool kept it")
            fingerprints = {str(cell): str(value) for cell, value in read["fingerprints"].items()}
            if len(read["files"]) > MAX_FILES:
                raise ValueError(f"it has more than {MAX_FILES:,} files")
            files = {_checked(path, fingerprints): _kept_file(words) for path, words in read["files"].items()}
            return cls(
                job=str(read["job"]),
                contained=bool(read["contained"]),
                fingerprints=fingerprints,
                files=files,
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("its index is damaged") from error


def sizes(total: int) -> Iterator[int]:
    """The sizes of the pieces of a file of so many bytes."""
    for start in range(0, total, PIECE_BYTES):
        yield min(PIECE_BYTES, total - start)


def path_fault(path: str, cells: Mapping[str, object]) -> str | None:
    """Why a path is none of a job's state; None where it may be one.

    Args:
        cells: by their ids, each of which may have a folder.
    """
    parts = path.split("/")
    if not 2 <= len(parts) <= _MAX_DEPTH:
        return "it lies elsewhere"
    if parts[0] != PASSES and parts[0] not in cells:
        return "it belongs to no cell"
    for part in parts:
        if part in ("", ".", "..") or not part.isprintable() or len(part.encode()) > _LONGEST_PART:
            return "it is no plain name"
    return None


def _checked(path: str, cells: Mapping[str, object]) -> str:
    fault = path_fault(path, cells)
    if fault is not None:
        raise ValueError(f"it holds the file {path!r}, and {fault}")
    return path


def _kept_file(words: Mapping[str, Any]) -> KeptFile:
    size, pieces = words["size"], words["pieces"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(pieces, list):
        raise TypeError("a file's size or pieces")
    if len(pieces) != -(-size // PIECE_BYTES) or not all(map(_SHA256.fullmatch, pieces)):
        raise ValueError("its index is damaged")
    return KeptFile(size=size, pieces=tuple(pieces))
