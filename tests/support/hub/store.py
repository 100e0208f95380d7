"""What a Hub keeps: files, commits, repositories, pull requests, collections and tokens. No HTTP here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cached_property
from itertools import count
from typing import Any, Literal

from tests.support.hub.cards import front_matter

Kind = Literal["models", "datasets"]
Role = Literal["read", "write"]

ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in (
        *("*.7z", "*.arrow", "*.bin", "*.ckpt", "*.gz", "*.h5", "*.model", "*.msgpack", "*.npy", "*.npz"),
        *("*.onnx", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.safetensors", "*.tar"),
        *("*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*"),
    )
).encode()
"""The .gitattributes that a new repository of the Hub begins with."""
LARGEST_REGULAR = 10 * 1024 * 1024
"""Larger files have to be in LFS (Hub docs, repositories-getting-started and storage-limits)."""
_PULL_REQUEST = re.compile(r"refs/pr/[0-9]+")
_numbers = count(1)


@dataclass(frozen=True, repr=False)
class Blob:
    """One version of one file."""

    data: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git itself holds of an LFS file (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        ).encode()

    @cached_property
    def oid(self) -> str:
        """The hash of the git blob; of an LFS file the pointer's."""
        return git_oid("blob", self.pointer if self.lfs else self.data)


def git_oid(kind: str, data: bytes) -> str:
    """The hash that git gives an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True, repr=False)
class Commit:
    """A whole tree of files and how it came about."""

    id: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    description: str = ""
    author: str = "someone"
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card's metadata; nothing where the Hub cannot read it."""
        readme = self.files.get("README.md")
        metadata, problems = front_matter(readme.data if readme else b"")
        return {} if problems else metadata


@dataclass(frozen=True)
class Visible:
    """What the world could see of a repository from one request on."""

    request: int
    commit: str
    private: bool
    gated: str | bool


@dataclass(kw_only=True)
class Discussion:
    """A discussion or a pull request; `base` is the commit of main that a pull request began at."""

    number: int
    title: str
    author: str
    base: str | None
    status: str = "open"
    merged: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


@dataclass(kw_only=True, repr=False)
class Repository:
    """A repository with its whole history.

    Attributes:
        approved: who may read the files of a gated one.
        objects: the LFS objects that were uploaded and verified, by sha256.
        staged: those that were uploaded and not verified yet.
        publishers: claims of trusted publishers; a job whose id token has all of one of them may write.
        history: every state of `main` and of who sees it, the first one first.
    """

    kind: Kind
    name: str
    private: bool = False
    gated: Literal["auto", "manual", False] = False
    approved: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    staged: dict[str, bytes] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)
    publishers: list[Mapping[str, str]] = field(default_factory=list)
    history: list[Visible] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    @property
    def head(self) -> str:
        """The commit that `main` points at."""
        return self.refs["refs/heads/main"]

    @property
    def files(self) -> dict[str, bytes]:
        """What `main` holds."""
        return {name: blob.data for name, blob in self.commits[self.head].files.items()}

    @property
    def titles(self) -> list[str]:
        """The messages of main's commits, the last one first."""
        return [commit.title for commit in self.log(self.head)]

    def log(self, commit: str | None) -> list[Commit]:
        """A commit and those before it."""
        found = []
        while commit is not None:
            found.append(self.commits[commit])
            commit = found[-1].parent
        return found

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a pull request or a whole hash names."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.commits[self.refs[name]]
        return self.commits.get(revision)

    def add_commit(
        self,
        files: Mapping[str, Blob],
        *,
        ref: str = "refs/heads/main",
        parent: str | None,
        title: str,
        description: str = "",
        author: str = "someone",
        request: int = 0,
    ) -> Commit:
        """Add a commit and let a ref point at it."""
        tree = "".join(f"{name} {blob.oid}\n" for name, blob in sorted(files.items()))
        told = f"tree {tree}\nparent {parent}\nnumber {next(_numbers)}\n\n{title}\n{description}"
        commit = Commit(
            id=git_oid("commit", told.encode()),
            parent=parent,
            files=dict(files),
            title=title,
            description=description,
            author=author,
        )
        self.commits[commit.id] = commit
        self.objects.update({blob.sha256: blob.data for blob in files.values() if blob.lfs})
        self.move(ref, commit.id, request=request)
        return commit

    def move(self, ref: str, commit: str, *, request: int = 0) -> None:
        """Let a ref point at a commit."""
        self.refs[ref] = commit
        if ref == "refs/heads/main":
            self.note(request)

    def note(self, request: int) -> None:
        """Remember what is visible from now on."""
        state = Visible(request, self.head, self.private, self.gated)
        if not self.history or replace(self.history[-1], request=request) != state:
            self.history.append(state)

    def add_files(self, files: Mapping[str, bytes], *, title: str = "Update", replace: bool = False) -> str:
        """A commit on main as somebody else would make it.

        Args:
            files: name → content, added to what is there.
            title: the commit's message.
            replace: whether they replace everything that is there.

        Returns:
            The commit's hash.
        """
        parent = self.refs.get("refs/heads/main")
        old = {} if replace or parent is None else dict(self.commits[parent].files)
        new = {name: Blob(data, is_lfs(name, data, ATTRIBUTES)) for name, data in files.items()}
        return self.add_commit({**old, **new}, parent=parent, title=title).id


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token and what it may do.

    Attributes:
        only: the one repository that an exchanged token is for (`models/owner/name`).
        job: whether it came from a token exchange.
    """

    value: str
    user: str
    role: Role
    only: str | None = None
    job: bool = False


@dataclass(kw_only=True)
class Collection:
    """A list of repositories."""

    slug: str
    title: str
    owner: str
    private: bool = False
    description: str | None = None
    items: list[dict[str, Any]] = field(default_factory=list)


def is_lfs(name: str, start: bytes, attributes: bytes, *, size: int | None = None) -> bool:
    """Whether the Hub wants a file in LFS: by .gitattributes, by its size, or because it is no text."""
    patterns = [
        line.split()[0] for line in attributes.decode().splitlines() if "filter=lfs" in line.split()[1:]
    ]
    if any(fnmatch(name.rpartition("/")[2], pattern) or fnmatch(name, pattern) for pattern in patterns):
        return True
    return (len(start) if size is None else size) > LARGEST_REGULAR or b"\0" in start[:512]


def is_pull_request(revision: str) -> bool:
    """Whether a revision is a pull request's ref."""
    return bool(_PULL_REQUEST.fullmatch(revision))
