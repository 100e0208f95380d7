"""A place to publish to that only tells what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.errors import PublishError
from quantize_lib.publish.base import Published, PublishedState, Publisher


class Shelf(Publisher):
    """A place to publish to whose states a test sets."""

    def __init__(self, states: Mapping[str, PublishedState | PublishError]) -> None:
        self.states = states

    def current(self, repository: str, part: str = "") -> PublishedState | None:  # noqa: ARG002
        state = self.states.get(repository)
        if isinstance(state, PublishError):
            raise state
        return state

    def record(self, repository: str, part: str = "") -> Mapping[str, Any] | None:
        raise AssertionError(f"{repository} {part} is not to be read here")

    def publish(self, checkpoint: Path, repository: str, **_: object) -> Published:
        raise AssertionError(f"{repository}: {checkpoint} is not to be published here")
