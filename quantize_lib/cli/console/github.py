"""GitHub's workflow log: foldable groups and annotations.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.text import printable

MAX_ANNOTATIONS = 10
"""GitHub shows ten annotations of a kind and step; it drops the rest without a word."""
_TITLE = "Model Quantizer"


def escape_data(text: str) -> str:
    """Text as the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Text as the value of a workflow command's property."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def neutralise(text: str) -> str:
    """Text of which no line is a workflow command, neither `::name::` nor the older `##[name]`.

    The runner looks for `::` after leading white space, and for `##[` anywhere in a line.
    """
    lines = []
    for line in text.split("\n"):
        bare = line.lstrip()
        if bare.startswith("::"):
            line = line[: len(line) - len(bare)] + ": :" + bare[2:]
        lines.append(line.replace("##[", "## ["))
    return "\n".join(lines)


class GithubReporter(PlainReporter):
    """Plain lines, groups and annotations; foreign text can never start a workflow command."""

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, interval: float = 15.0
    ) -> None:
        super().__init__(stream, clock=clock, interval=interval)
        self._annotations: Counter[str] = Counter()
        self._depth = 0

    def warning(self, message: str) -> None:
        """An annotation at the run; a line in the log where there are ten already."""
        self._annotate("warning", message)

    def error(self, message: str) -> None:
        """An annotation at the run; a line in the log where there are ten already."""
        self._annotate("error", message)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A group; as GitHub has none within another, an inner one is a heading."""
        outermost = self._depth == 0
        self._write(
            f"::group::{escape_data(printable(title))}" if outermost else self._foreign(f"== {title}")
        )
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if outermost:
                self._write("::endgroup::")

    def _annotate(self, kind: Literal["warning", "error"], message: str) -> None:
        self._annotations[kind] += 1
        if self._annotations[kind] > MAX_ANNOTATIONS:
            self._write(self._foreign(f"{kind}: {message}"))
        else:
            self._write(f"::{kind} title={escape_property(_TITLE)}::{escape_data(printable(message))}")

    def _foreign(self, text: str) -> str:
        return neutralise(printable(text))
