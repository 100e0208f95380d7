"""The parts of the Hub's HTTP interface that reading needs, on the loopback address, over plain files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and what it was asked.

    Attributes:
        repositories: `models/owner/name` or `datasets/owner/name` → file name → bytes, all at `COMMIT`.
        denied: the same keys → the Hub's error code, as in `GatedRepo`.
        claimed: file name → the size that the list of files gives for it, where it is not the true one.
        ranges: whether range requests are honoured.
        requests: `GET path` of every request, and the bytes sent for it.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, int]] = field(default_factory=list)
    endpoint: str = ""

    def sent(self, name: str) -> int:
        """Bytes of a file's content that left the server."""
        return sum(size for request, size in self.requests if request.startswith("GET ") and name in request)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve until the context ends; `hub.endpoint` is the address for HF_ENDPOINT."""

    class Handler(_Handler):
        store = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[0] == "api":
            self._api(parts[1:], body)
        elif "resolve" in parts:
            at = parts.index("resolve")
            kind = parts[:at] if parts[0] == "datasets" else ["models", *parts[:at]]
            self._file("/".join(kind), parts[at + 1], "/".join(parts[at + 2 :]))
        else:
            self._fail(404, "EntryNotFound")

    def _api(self, parts: list[str], body: bytes) -> None:
        key, rest = "/".join(parts[:3]), parts[3:]
        if not self._allowed(key, rest[1] if len(rest) > 1 else "main"):
            return
        files = self.store.repositories[key]
        if not rest or rest[0] == "revision":
            sizes = {name: len(data) for name, data in files.items()} | self.store.claimed
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            self._json({"id": "/".join(parts[1:3]), "sha": COMMIT, "siblings": siblings, "tags": []})
        elif rest[0] == "tree":
            folder = "/".join(rest[2:])
            self._json([self._entry(files, name) for name in files if name.startswith(folder)])
        elif rest[0] == "paths-info":
            wanted = _wanted(body, self.headers.get("Content-Type", ""))
            self._json([self._entry(files, name) for name in wanted if name in files])
        else:
            self._fail(404, "EntryNotFound")

    def _entry(self, files: dict[str, bytes], name: str) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(files[name]), "oid": _oid(files[name])}

    def _file(self, key: str, revision: str, name: str) -> None:
        if not self._allowed(key, revision):
            return
        data = self.store.repositories[key].get(name)
        if data is None:
            self._fail(404, "EntryNotFound")
            return
        headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked and self.store.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._send(206, data[start:stop], headers)
        else:
            self._send(200, data, headers)

    def _allowed(self, key: str, revision: str) -> bool:
        if key in self.store.denied:
            code = self.store.denied[key]
            self._fail(403 if code == "GatedRepo" else 401, code)
        elif key not in self.store.repositories:
            self._fail(404, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._fail(404, "RevisionNotFound")
        else:
            return True
        return False

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            try:
                for start in range(0, len(data), 65536):
                    sent += self.wfile.write(data[start : start + 65536])
            except OSError:
                # The client had enough and hung up.
                self.close_connection = True
        self.store.requests.append((f"{self.command} {self.path}", sent))


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _wanted(body: bytes, content_type: str) -> list[str]:
    if "json" in content_type:
        paths = json.loads(body)["paths"]
        return paths if isinstance(paths, list) else [paths]
    return parse_qs(body.decode())["paths"]
