"""A file of a repository on the Hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub lists it."""

    size: int
    sha256: str | None = None
    """Of a file in LFS."""
    oid: str | None = None
    """Of any other: its git object id, a sha1 over a short header and the bytes."""
