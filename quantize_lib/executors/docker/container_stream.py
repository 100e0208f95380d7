"""What a container prints, as it prints it: events to the reporter, everything else into the log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from quantize_lib.job.events import MAX_LINE, Relay
from quantize_lib.reporting import Reporter

BURST = 4 * 2**20
RATE = 2 * 2**10
"""Bytes of events that a container may print, at once and a second: ten times what a worker does."""
MAX_LOG = 64 * 2**20
"""Bytes of its standard error that are kept."""


class Listener(threading.Thread):
    """Reads a container's two streams until they end.

    Args:
        stream: pairs of standard output and standard error, either of them None.
        reporter: gets the events.
        log: gets standard error; what is beyond `MAX_LOG` is dropped.

    Attributes:
        flooded: whether standard output was more than `BURST` and `RATE` allow; then it is read, and no more.
        lost: why the stream broke off, or None where it ended.
    """

    def __init__(
        self, stream: Iterator[tuple[bytes | None, bytes | None]], reporter: Reporter, log: Path
    ) -> None:
        super().__init__(name="container", daemon=True)
        self._stream = stream
        self._reporter = reporter
        self._log = log
        self.flooded = False
        self.lost: str | None = None

    def run(self) -> None:
        """Read to the end; see the class."""
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            self._read()
        except (OSError, RequestException, HTTPError) as error:
            self.lost = str(error)
            # The engine does not remove a container whose output nobody takes.
            for _ in self._stream:
                continue

    def _read(self) -> None:
        lines = _Lines()
        printed = logged = 0
        started = time.monotonic()
        with Relay(self._reporter) as relay, self._log.open("wb", buffering=0) as log:
            for out, err in self._stream:
                if self.flooded:
                    continue
                if err and logged < MAX_LOG:
                    logged += log.write(err[: MAX_LOG - logged]) or 0
                if out:
                    printed += len(out)
                    if printed > BURST + RATE * (time.monotonic() - started):
                        self.flooded = True
                        continue
                    for line in lines.feed(out):
                        relay.feed(line)
            for line in lines.feed(b"\n"):
                relay.feed(line)


class _Lines:
    """Cuts bytes into lines; a line without an end must not fill the memory."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            yield (self._rest + piece)[:MAX_LINE].decode("utf-8", errors="replace")
            self._rest = b""
        self._rest = (self._rest + rest)[:MAX_LINE]
