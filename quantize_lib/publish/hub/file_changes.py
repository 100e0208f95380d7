"""What one commit has to change in a repository, and whether a repository holds what it should.

Pure: everything here works on what is known of the files on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.files import feed, git_blob
from quantize_lib.hub.remote_files import RemoteFile

_WEIGHTS = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file as it is to be published: from the disk, or made in memory for this repository."""

    content: Path | bytes
    size: int
    sha256: str

    @classmethod
    def of_bytes(cls, content: bytes) -> LocalFile:
        """A file made in memory."""
        return cls(content=content, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def read(self) -> bytes:
        """The whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def git_oid(self) -> str:
        """What git calls the content."""
        digest = git_blob(self.size)
        if isinstance(self.content, bytes):
            digest.update(self.content)
        else:
            feed(digest, self.content)
        return digest.hexdigest()

    def equals(self, remote: RemoteFile) -> bool:
        """Whether the Hub holds the same bytes; it knows a large file by sha256, any other by its git id."""
        if self.size != remote.size:
            return False
        if remote.sha256 is not None:
            return self.sha256 == remote.sha256
        return remote.oid is not None and self.git_oid() == remote.oid


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What one commit does: files added or replaced, and files removed. Both sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def changes(
    local: Mapping[str, LocalFile], remote: Mapping[str, RemoteFile], published: Collection[str]
) -> Changes:
    """What makes a repository hold these files.

    A file that is not among them is removed where this tool published it, or where it would be loaded as a
    part of the model (a left-over shard). All others are the Hub's or a person's own and stay:
    .gitattributes, pictures, notebooks.

    Args:
        local: what it is to hold.
        remote: what it holds.
        published: the files that the publication before this one named as its own.
    """
    return Changes(
        added=tuple(
            sorted(
                name for name, file in local.items() if name not in remote or not file.equals(remote[name])
            )
        ),
        removed=tuple(
            sorted(
                name
                for name in remote.keys() - local.keys()
                if name != ".gitattributes" and (name in published or name.endswith(_WEIGHTS))
            )
        ),
    )


def differences(
    local: Mapping[str, LocalFile],
    remote: Mapping[str, RemoteFile],
    before: Mapping[str, RemoteFile],
    changes: Changes,
) -> tuple[str, ...]:
    """What is not as it should be after a commit; empty where all is well.

    Args:
        local: what was published.
        remote: what the repository holds at the commit.
        before: what it held at the commit's parent.
        changes: what the commit was to change.
    """
    kept = before.keys() - local.keys() - set(changes.removed)
    return (
        *(f"{name} is missing" for name in sorted(local.keys() - remote.keys())),
        *(
            f"{name} has other content"
            for name, file in sorted(local.items())
            if name in remote and not file.equals(remote[name])
        ),
        *(f"{name} was to be removed" for name in changes.removed if name in remote),
        *(f"{name} is lost" for name in sorted(kept) if remote.get(name) != before[name]),
        *(f"{name} was added by nobody" for name in sorted(remote.keys() - local.keys() - before.keys())),
    )


def restored(
    then: Mapping[str, RemoteFile],
    now: Mapping[str, RemoteFile],
    ours_then: Collection[str],
    ours_now: Collection[str],
) -> Changes:
    """What puts the files of an earlier publication back, and leaves a person's own alone.

    Args:
        then, now: what the repository held at that publication's commit, and holds.
        ours_then, ours_now: the files that the two publications name as their own.

    Returns:
        `added` are taken from the earlier commit.
    """
    return Changes(
        added=tuple(sorted(name for name in ours_then if now.get(name) != then[name])),
        removed=tuple(
            sorted(
                name
                for name in now.keys() - set(ours_then)
                if name != ".gitattributes" and (name in ours_now or name.endswith(_WEIGHTS))
            )
        ),
    )


def way_back(before: Mapping[str, RemoteFile], now: Mapping[str, RemoteFile]) -> Changes:
    """What turns a repository's files back into what they were; `added` are taken from the earlier commit."""
    return Changes(
        added=tuple(sorted(name for name, file in before.items() if now.get(name) != file)),
        removed=tuple(sorted(now.keys() - before.keys())),
    )
