"""How long a silent connection to the Hub is waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 30.0
READ_SECONDS = 60.0
WRITE_SECONDS = 300.0
"""Without a byte in either direction, of a question and a change: a large commit takes the Hub a minute."""
_limiting = threading.Lock()


def limit_waits() -> None:
    """Let the Hub's client give up on a connection that died silently: by itself it would wait for ever.

    It asks most things with the limit `None`, which takes precedence over a default of its session. So
    each request is given one where it has none, by a hook of the session, also in the sessions that it makes
    later.
    """
    import httpx2
    from huggingface_hub import get_session, set_client_factory

    with _limiting:
        hooks = get_session().event_hooks
        if _limit in hooks["request"]:
            return
        limited = {**hooks, "request": [*hooks["request"], _limit]}
        set_client_factory(lambda: httpx2.Client(event_hooks=limited, follow_redirects=True, timeout=None))


def _limit(request: httpx2.Request) -> None:
    asked = request.extensions.get("timeout", {})
    patience = READ_SECONDS if request.method in ("GET", "HEAD") else WRITE_SECONDS
    limits = {"connect": CONNECT_SECONDS, "read": patience, "write": patience}
    given = {name: value for name, value in asked.items() if value is not None}
    request.extensions = {**request.extensions, "timeout": {**asked, **limits, **given}}
