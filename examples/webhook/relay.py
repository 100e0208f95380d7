"""Hands on a change on the Hugging Face Hub to GitHub, where it starts a workflow.

    WEBHOOK_SECRET=… GITHUB_REPOSITORY=acme/models GITHUB_TOKEN=… python relay.py

The Hub's webhook (https://huggingface.co/docs/hub/webhooks) posts here whatever happens to the repositories
that it watches. For a commit on `main` of a model this calls `POST /repos/OWNER/NAME/dispatches`
(https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event); everything else is answered
and ignored. Nothing of what arrives goes to GitHub: the run looks itself what has changed.

It speaks plain HTTP and belongs behind something that speaks TLS. Standard library only. The environment:

    WEBHOOK_SECRET      the webhook's secret, which comes with each of its requests
    GITHUB_REPOSITORY   OWNER/NAME of the repository with the workflow
    GITHUB_TOKEN        may write the contents of that one repository, which a dispatch asks for
    EVENT_TYPE          of the dispatch; `requantize` where not given
    GITHUB_API_URL      `https://api.github.com` where not given
    RELAY_HOST          `127.0.0.1` where not given
    RELAY_PORT          `8080` where not given; 0 takes a free one
"""

from __future__ import annotations

import hmac
import http.client
import json
import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 2**20
MAX_CONNECTIONS = 32
"""At once; each further one is closed."""
PATIENCE = 10.0
"""Seconds in which a request must have arrived whole: a limit for each part would let a slow sender stay."""
API_SECONDS = 30.0

ALLOWED = {
    "WEBHOOK_SECRET": r"[!-~]+",
    "GITHUB_REPOSITORY": r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+",
    "GITHUB_TOKEN": r"[!-~]+",
    "EVENT_TYPE": r"[A-Za-z0-9._-]{1,100}",
    "GITHUB_API_URL": r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?",
    "RELAY_HOST": r"[A-Za-z0-9.-]+",
    "RELAY_PORT": r"[0-9]{1,5}",
}
"""The variables that are read, and what they may be."""
DEFAULTS = {
    "EVENT_TYPE": "requantize",
    "GITHUB_API_URL": "https://api.github.com",
    "RELAY_HOST": "127.0.0.1",
    "RELAY_PORT": "8080",
}
"""All others must be given."""


class ConfigurationError(Exception):
    """The environment lacks something, or holds what cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says; the secrets stay out of its text."""

    secret: str = field(repr=False)
    token: str = field(repr=False)
    repository: str
    event_type: str
    api: str
    host: str
    port: int


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings.

    Raises:
        ConfigurationError: naming every variable that is missing or wrong, without its value.
    """
    found = {name: environ.get(name) or DEFAULTS.get(name, "") for name in ALLOWED}
    missing = [name for name, value in found.items() if not value]
    wrong = [name for name, value in found.items() if value and re.fullmatch(ALLOWED[name], value) is None]
    if missing or wrong:
        parts = [f"{name} is not set" for name in missing] + [f"{name} cannot be used" for name in wrong]
        raise ConfigurationError("; ".join(parts))
    return Settings(
        secret=found["WEBHOOK_SECRET"],
        token=found["GITHUB_TOKEN"],
        repository=found["GITHUB_REPOSITORY"],
        event_type=found["EVENT_TYPE"],
        api=found["GITHUB_API_URL"].rstrip("/"),
        host=found["RELAY_HOST"],
        port=int(found["RELAY_PORT"]),
    )


def changed_model(payload: Any) -> str | None:
    """The model whose `main` has new content; None for every other event.

    The Hub may narrow its scopes one day; what is narrower counts as an update of the wider one, as it says.
    """
    match payload:
        case {
            "event": {"action": str(action), "scope": str(scope)},
            "repo": {"type": "model", "name": str(name)},
            "updatedRefs": [*refs],
        }:
            content = (scope == "repo.content" and action == "update") or scope.startswith("repo.content.")
            return name if content and any(map(_is_new_main, refs)) else None
        case _:
            return None


def _is_new_main(ref: Any) -> bool:
    """Whether a reference is `main`, and was not deleted."""
    match ref:
        case {"ref": "refs/heads/main", "newSha": str()}:
            return True
        case _:
            return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The client would send the token along to wherever it is told to go."""

    def redirect_request(self, *_: object) -> None:
        return None


def dispatch(settings: Settings) -> str | None:
    """Start the workflow; what went wrong, in words that hold nothing of the answer, or None."""
    request = urllib.request.Request(
        f"{settings.api}/repos/{settings.repository}/dispatches",
        data=json.dumps({"event_type": settings.event_type}).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {settings.token}",
            "Content-Type": "application/json",
            "User-Agent": "model-quantizer",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=API_SECONDS) as response:
            return None if response.status == 204 else f"GitHub answered {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"GitHub answered {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"GitHub cannot be reached ({type(error).__name__})"


class Relay(ThreadingHTTPServer):
    """Listens for the Hub's webhook.

    Args:
        settings: what to compare with and where to hand on.
        patience: as PATIENCE.
    """

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, settings: Settings, *, patience: float = PATIENCE) -> None:
        self.settings = settings
        self.patience = patience
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((settings.host, settings.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection on, where there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Relay
    server_version = "relay"
    sys_version = ""

    def log_message(self, *_: object) -> None:
        """Nothing by itself: the request line may hold a secret (`?secret=…`)."""

    def handle(self) -> None:
        """Read and answer, unless the other side goes away or takes too long."""
        self._late = threading.Timer(self.server.patience, self._cut)
        self._late.daemon = True
        self._late.start()
        try:
            with suppress(OSError):
                super().handle()
        finally:
            self._late.cancel()

    def _cut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_POST(self) -> None:
        """A webhook's request."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            return self._answer(411, "no length")
        if int(length) > MAX_BODY:
            return self._answer(413, "too large")
        body = self.rfile.read(int(length))
        self._late.cancel()
        # The header's text was decoded as latin-1, which gives the bytes back that came.
        given = self.headers.get("X-Webhook-Secret", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.server.settings.secret.encode()):
            return self._answer(401, "wrong secret")
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return self._answer(400, "no JSON")
        model = changed_model(payload)
        if model is None:
            return self._answer(200, "ignored")
        # Escaped: the name comes from outside.
        shown = ascii(model)[:200]
        problem = dispatch(self.server.settings)
        if problem is not None:
            return self._answer(502, f"{shown}: {problem}")
        return self._answer(200, f"{shown}: handed on")

    def _answer(self, status: int, words: str) -> None:
        print(f"{self.log_date_time_string()} {status} {words}", file=sys.stderr, flush=True)
        body = f"{words}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Listen until stopped; the exit code."""
    try:
        settings = read_settings(os.environ)
    except ConfigurationError as error:
        print(f"{error}. What each is for stands at the top of {__file__}.", file=sys.stderr)
        return 2
    try:
        relay = Relay(settings)
    except (OSError, OverflowError) as error:
        print(f"cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 2
    with relay:
        host, port = relay.server_address[:2]
        print(f"listening on http://{host!s}:{port}, for {settings.repository}", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            relay.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
