"""When a request to the Hub is tried again, and how long is waited before.

The Hub's client itself tries again where it lists files and uploads large ones; what it asks once only (a
repository's state, its creation, its settings, a commit, most of a download) goes through here.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from quantize_lib.hub.time_limits import limit_waits

T = TypeVar("T")

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that go away by themselves; all others say that something has to be changed."""


class BadAnswerError(OSError):
    """An answer that is not what the Hub sends: cut short, or a page of something between us and it."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient to be.

    Attributes:
        attempts: how often a request is made at most.
        first_wait: seconds before the second attempt; doubled for each further one, less up to a half by
            chance, so that many runners that failed together do not come back together.
        longest_wait: the limit of one wait. A server that asks for a longer one is not waited for.
        sleep: waits.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, request: Callable[[], T]) -> T:
        """Make a request that may be made twice, until it succeeds or patience ends."""
        import httpx2

        attempt = 1
        while True:
            try:
                return parsed(request)
            except (OSError, httpx2.HTTPError) as error:
                if not self.again(attempt, error):
                    raise
            attempt += 1

    def again(self, attempt: int, error: Exception) -> bool:
        """Wait after a failed attempt, counted from 1; or say that another is useless or one too many."""
        if attempt >= self.attempts or not is_passing(error):
            return False
        asked = asked_wait(error)
        if asked is not None and asked > self.longest_wait:
            return False
        backoff = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))
        self.sleep(backoff * random.uniform(0.5, 1) if asked is None else asked)
        return True


READING = Retry(attempts=4)
"""For what is read before anything is computed: that there is no network is reported after some seconds."""


def parsed(request: Callable[[], T]) -> T:
    """Make a request whose answer the client parses.

    Raises:
        BadAnswerError: where the answer was no JSON.
    """
    limit_waits()
    try:
        return request()
    except json.JSONDecodeError as error:
        raise BadAnswerError("the answer was no JSON") from error


def is_passing(error: BaseException | None) -> bool:
    """Whether the same request may succeed a little later."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    if isinstance(error, httpx2.TransportError | BadAnswerError):
        return True
    # The client wraps what befell one of several uploads, or kept it from a file that its cache lacks.
    wrapped = isinstance(error, RuntimeError | LocalEntryNotFoundError)
    return wrapped and error is not None and is_passing(error.__cause__)


def is_conflict(error: BaseException) -> bool:
    """Whether a commit was refused because its parent is not the head any more."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and error.response.status_code in (409, 412)


def asked_wait(error: BaseException | None) -> float | None:
    """Seconds that the server asked to wait (both forms of RFC 9110, 10.2.3); None where it did not."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return None
    value = error.response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
