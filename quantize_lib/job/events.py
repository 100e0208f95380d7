"""What the quantizing process says, as one JSON object a line, and its way back to a person.

The process runs foreign model code, so the host believes nothing of it: every line is bounded, control
characters are dropped, and what is not an event of ours is shown as a plain line.

    {"event": "info" | "warning" | "error", "message": …}
    {"event": "group-start", "title": …}
    {"event": "group-end"}
    {"event": "progress-start", "id": …, "title": …, "total": …, "unit": …}
    {"event": "progress-advance", "id": …, "amount": …}
    {"event": "progress-end", "id": …}
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, TextIO

from quantize_lib.reporting import Progress, Reporter
from quantize_lib.text import printable

MAX_LINE = 64 * 1024
"""Characters of a line that are looked at; the rest is dropped."""
MAX_OPEN = 16
"""Groups, and bars, that a process may have open at a time."""
_MAX_COUNT = 2**63
_ADVANCE_SECONDS = 0.2


class EventReporter:
    """A `Reporter` that writes events to a stream; safe to use from several threads."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._bars = 0

    def info(self, message: str) -> None:
        """A plain line."""
        self._send(event="info", message=message)

    def warning(self, message: str) -> None:
        """Something that needs attention but stops nothing."""
        self._send(event="warning", message=message)

    def error(self, message: str) -> None:
        """Something that failed."""
        self._send(event="error", message=message)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A foldable part of the log."""
        self._send(event="group-start", title=title)
        try:
            yield
        finally:
            self._send(event="group-end")

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Progress]:
        """A bar; at most five events a second, none lost."""
        with self._lock:
            self._bars += 1
            bar = _EventProgress(self._bars, self._send, self._clock)
        self._send(event="progress-start", id=bar.id, title=title, total=total, unit=unit)
        try:
            yield bar
        finally:
            bar.flush()
            self._send(event="progress-end", id=bar.id)

    def _send(self, **event: Any) -> None:
        line = json.dumps(event, ensure_ascii=True)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class _EventProgress:
    def __init__(self, number: int, send: Callable[..., None], clock: Callable[[], float]) -> None:
        self.id = number
        self._send = send
        self._clock = clock
        self._pending = 0
        self._sent_at = float("-inf")

    def advance(self, amount: int = 1) -> None:
        self._pending += amount
        if self._clock() - self._sent_at >= _ADVANCE_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._send(event="progress-advance", id=self.id, amount=self._pending)
            self._pending = 0
            self._sent_at = self._clock()


class Relay:
    """Feeds a `Reporter` from the lines of a process that is not trusted.

    On exit it closes the groups and bars that the process left open, for instance because it died.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._groups: list[AbstractContextManager[None]] = []
        self._bars: dict[int, tuple[AbstractContextManager[Progress], Progress]] = {}

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._bars):
            self._bars.pop(number)[0].__exit__(kind, error, trace)
        while self._groups:
            self._groups.pop().__exit__(kind, error, trace)

    def feed(self, line: str) -> None:
        """Act on one line; what is not an event is shown as a plain line."""
        line = line[:MAX_LINE]
        if not self._act(_parse(line)) and (text := printable(line).strip()):
            self._reporter.info(text)

    def _act(self, event: dict[str, Any]) -> bool:
        match event:
            case {"event": "info" | "warning" | "error" as kind, "message": str(message)}:
                getattr(self._reporter, kind)(printable(message))
            case {"event": "group-start", "title": str(title)} if len(self._groups) < MAX_OPEN:
                group = self._reporter.group(_one_line(title))
                group.__enter__()
                self._groups.append(group)
            case {"event": "group-end"} if self._groups:
                self._groups.pop().__exit__(None, None, None)
            case {
                "event": "progress-start",
                "id": int(number),
                "title": str(title),
                "total": int(total),
                "unit": str(unit),
            } if len(self._bars) < MAX_OPEN and number not in self._bars and 0 <= total < _MAX_COUNT:
                bar = self._reporter.progress(_one_line(title), total, _one_line(unit))
                self._bars[number] = (bar, bar.__enter__())
            case {"event": "progress-advance", "id": int(number), "amount": int(amount)} if (
                number in self._bars and 0 <= amount < _MAX_COUNT
            ):
                self._bars[number][1].advance(amount)
            case {"event": "progress-end", "id": int(number)} if number in self._bars:
                self._bars.pop(number)[0].__exit__(None, None, None)
            case _:
                return False
        return True


def _parse(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())[:200]
