"""Plain lines, for log files and pipes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from quantize_lib.cli.console.text import format_done, format_rate
from quantize_lib.reporting import Progress
from quantize_lib.text import format_duration, printable


class PlainReporter:
    """Writes whole lines only; a bar is a line every few seconds.

    Args:
        stream: where the lines go.
        clock: seconds, for rate and time left.
        interval: seconds between two lines of one bar.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, interval: float = 5.0
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._interval = interval
        self._lock = threading.Lock()

    def info(self, message: str) -> None:
        """A plain line."""
        self._write(self._foreign(message))

    def warning(self, message: str) -> None:
        """A line that starts with `warning:`."""
        self._write(self._foreign(f"warning: {message}"))

    def error(self, message: str) -> None:
        """A line that starts with `error:`."""
        self._write(self._foreign(f"error: {message}"))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A heading."""
        self._write(self._foreign(f"== {title}"))
        yield

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Progress]:
        """Lines with what is done, rate and time left, and one at the end."""
        bar = _LineProgress(title, total, unit, self.info, self._clock, self._interval)
        yield bar
        bar.finish()

    def _foreign(self, text: str) -> str:
        """Text as it may be written; a subclass also keeps it from meaning something to its reader."""
        return printable(text)

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


class _LineProgress:
    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        say: Callable[[str], None],
        clock: Callable[[], float],
        interval: float,
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._say = say
        self._clock = clock
        self._interval = interval
        self._done = 0
        self._started = self._said = clock()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = self._clock()
        if now - self._said < self._interval or self._done >= self._total:
            return
        self._said = now
        elapsed = now - self._started
        parts = [format_done(self._done, self._total, self._unit)]
        if rate := format_rate(self._done, elapsed, self._unit):
            left = elapsed / self._done * (self._total - self._done)
            parts += [rate, f"{format_duration(left)} left"]
        self._say(f"{self._title}: {', '.join(parts)}")

    def finish(self) -> None:
        elapsed = self._clock() - self._started
        done = format_done(self._done, self._total, self._unit)
        self._say(f"{self._title}: {done} in {format_duration(elapsed)}")
