"""Where each target is tried: its own place, what a manifest says of it, and what is held there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.support.publications import NAME, met


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A target's place in a test.

    Attributes:
        publish: a manifest's `publish` for it, with each of the target's options that can be at once.
        refused: one that has options which do not go together; empty where all do.
        state: everything that is held there, which nothing but a publication changes.
        log_out: takes the credentials away.
    """

    publish: Mapping[str, Any]
    refused: Mapping[str, Any]
    state: Callable[[], object]
    log_out: Callable[[], None] = lambda: None


@contextmanager
def _directory(folder: Path, _: pytest.MonkeyPatch) -> Iterator[Stage]:
    root = folder / "place"

    def state() -> dict[str, tuple[bytes, int]]:
        # The inode tells a file that was written again from one that was left alone.
        return {
            str(path): (path.read_bytes(), path.stat().st_ino)
            for path in sorted(root.rglob("*"))
            if path.is_file() and ".publishing" not in path.parts
        }

    yield Stage(publish={"to": "directory", "path": "place"}, refused={}, state=state)


@contextmanager
def _hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    # Where `hf auth login` would have left one.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    with met(monkeypatch) as hub:
        publish = {"to": "hub", "private": False, "tag": True, "collection": "{model}, small"}

        def state() -> object:
            repository = hub.model(NAME)
            return (repository.head, len(repository.commits), dict(repository.refs), repository.private)

        yield Stage(
            publish=publish,
            refused={"to": "hub", "tag": True, "pull_request": True},
            state=state,
            log_out=lambda: monkeypatch.delenv("HF_TOKEN_WRITE"),
        )


STAGES: Mapping[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Stage]]] = {
    "directory": _directory,
    "hub": _hub,
}
"""By the target's name; a new target needs one."""
