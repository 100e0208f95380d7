"""The relay between the Hub's webhook and a workflow, over real connections on both of its sides."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from examples.webhook import relay as program
from examples.webhook.relay import ALLOWED, DEFAULTS, MAX_BODY, MAX_CONNECTIONS, Relay, Settings

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "webhook" / "relay.py"
SECRET = "canary-of-the-webhook"
TOKEN = "github_pat_canary-of-the-dispatch"
COMMIT = "575db8b7a51b6f85eb06eee540738584589f131c"
MAIN = {"ref": "refs/heads/main", "oldSha": "ce9a4674fa833a68d5a73ec355f0ea95eedd60b7", "newSha": COMMIT}


def payload(**changed: Any) -> dict[str, Any]:
    """A commit on `main`, with the keys of https://huggingface.co/docs/hub/webhooks#webhook-payloads."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": "model",
            "name": "some-user/some-repo",
            "id": "6366c000a2abcdf2fd69a080",
            "private": False,
            "url": {
                "web": "https://huggingface.co/some-user/some-repo",
                "api": "https://huggingface.co/api/models/some-user/some-repo",
            },
            "headSha": COMMIT,
            "tags": ["license:other"],
            "owner": {"id": "61d2000c3c2083e1c08af22d"},
        },
        "updatedRefs": [MAIN],
        "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
        **changed,
    }


class Api(ThreadingHTTPServer):
    """GitHub's side: keeps what it is asked, answers `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 204
        self.location: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class ApiHandler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        if self.server.status != 204:
            # A careless proxy repeats what it was given.
            self.wfile.write(self.headers["Authorization"].encode())

    do_GET = do_POST  # noqa: N815


@contextmanager
def listening(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    with listening(server):
        yield server


@dataclass(kw_only=True)
class Running:
    """A relay in a process of its own; `log` is all that it said, once it has ended."""

    port: int
    log: list[str] = field(default_factory=list)

    def post(
        self, body: bytes, secret: str | bytes | None = SECRET, path: str = "/", **headers: str
    ) -> tuple[int, str]:
        """Status and text of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest("POST", path)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                connection.putheader(name, value)
            if secret is not None:
                connection.putheader("X-Webhook-Secret", secret)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def send(self, **changed: Any) -> tuple[int, str]:
        """Post an event, as the Hub does."""
        return self.post(json.dumps(payload(**changed)).encode())


def variables(**more: str) -> dict[str, str]:
    """This process's environment without what names GitHub or a proxy, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not re.match(r"(?i)GITHUB_|.*_PROXY$", name)}
    return {**kept, **more}


@contextmanager
def running(api: str, **more: str) -> Iterator[Running]:
    env = variables(
        WEBHOOK_SECRET=SECRET,
        GITHUB_REPOSITORY="acme/models",
        GITHUB_TOKEN=TOKEN,
        GITHUB_API_URL=api,
        RELAY_PORT="0",
        **more,
    )
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.search(r"listening on http://127\.0\.0\.1:(\d+), for acme/models", first)
    try:
        assert found, first
        relay = Running(port=int(found[1]))
        yield relay
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=20)
    relay.log += [first, *rest.splitlines()]
    assert SECRET not in first + rest
    assert TOKEN not in first + rest
    assert "Traceback" not in rest


def test_a_commit_on_main_of_a_model_starts_the_workflow_and_sends_nothing_of_the_event(api: Api) -> None:
    with running(api.url) as relay:
        assert relay.send() == (200, "'some-user/some-repo': handed on\n")
    ((method, path, headers, body),) = api.requests
    assert (method, path) == ("POST", "/repos/acme/models/dispatches")
    assert json.loads(body) == {"event_type": "requantize"}
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Accept"] == "application/vnd.github+json"
    assert re.search(r" 200 'some-user/some-repo': handed on$", relay.log[-1])


def test_the_event_type_and_a_path_of_the_api_are_taken_from_the_environment(api: Api) -> None:
    with running(f"{api.url}/api/v3/", EVENT_TYPE="other") as relay:
        assert relay.send()[0] == 200
    ((_, path, _, body),) = api.requests
    assert path == "/api/v3/repos/acme/models/dispatches"
    assert json.loads(body) == {"event_type": "other"}


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET[:-1], SECRET + "x", "gehé".encode("latin-1")])
def test_without_the_right_secret_nothing_is_handed_on(api: Api, secret: str | bytes | None) -> None:
    with running(api.url) as relay:
        assert relay.post(json.dumps(payload()).encode(), secret) == (401, "wrong secret\n")
        # The Hub can also put it into the address, where proxies log it: that does not count.
        status, _ = relay.post(json.dumps(payload()).encode(), secret, f"/?secret={SECRET}")
        assert status == 401
    assert api.requests == []


OTHERS: dict[str, dict[str, Any]] = {
    "a data set": {"repo": {"type": "dataset", "name": "acme/news"}},
    "a space": {"repo": {"type": "space", "name": "acme/app"}},
    "another branch": {"updatedRefs": [{**MAIN, "ref": "refs/heads/main2"}]},
    "a pull request": {"updatedRefs": [{**MAIN, "ref": "refs/pr/1"}]},
    "a tag": {"updatedRefs": [{**MAIN, "ref": "refs/tags/main"}]},
    "main deleted": {"updatedRefs": [{**MAIN, "newSha": None}]},
    "no references": {"updatedRefs": []},
    "references of another kind": {"updatedRefs": "refs/heads/main"},
    "a reference of another kind": {"updatedRefs": [["refs/heads/main"], None, {"ref": {}}]},
    "a new repository": {"event": {"action": "create", "scope": "repo"}},
    "a deleted repository": {"event": {"action": "delete", "scope": "repo"}},
    "settings": {"event": {"action": "update", "scope": "repo.config"}},
    "a discussion": {"event": {"action": "update", "scope": "discussion"}},
    "a comment": {"event": {"action": "create", "scope": "discussion.comment"}},
    "a scope that only begins alike": {"event": {"action": "update", "scope": "repo.contents"}},
    "an event of another kind": {"event": "update"},
    "a name of another kind": {"repo": {"type": "model", "name": ["acme/tiny"]}},
}


def test_every_other_event_is_answered_and_ignored(api: Api) -> None:
    with running(api.url) as relay:
        for what, changed in OTHERS.items():
            assert relay.send(**changed) == (200, "ignored\n"), what
        for body in (b"[]", b"null", b'"text"', b"1", b"{}"):
            assert relay.post(body) == (200, "ignored\n"), body
    assert api.requests == []


@pytest.mark.parametrize(
    "changed",
    [
        {"updatedRefs": [{**MAIN, "ref": "refs/tags/v1", "oldSha": None}, MAIN]},
        {"updatedRefs": [{**MAIN, "oldSha": None}]},
        {"event": {"action": "create", "scope": "repo.content.lfs"}},
    ],
    ids=["beside a tag", "the first commit", "a narrower scope of a later Hub"],
)
def test_main_is_also_found_where_it_is_not_alone_or_new(api: Api, changed: dict[str, Any]) -> None:
    with running(api.url) as relay:
        assert relay.send(**changed)[0] == 200
    assert len(api.requests) == 1


def test_what_is_no_event_is_refused_before_it_is_read_whole(api: Api) -> None:
    with running(api.url) as relay:
        # Not a byte of the body is sent: an answer shows that none was waited for.
        assert relay.post(b"", **{"Content-Length": str(MAX_BODY + 1)}) == (413, "too large\n")
        assert relay.post(b"", **{"Content-Length": "-1"}) == (411, "no length\n")
        assert relay.post(b"", **{"Content-Length": "9" * 30}) == (411, "no length\n")
        assert relay.post(b"0\r\n\r\n", **{"Transfer-Encoding": "chunked"}) == (411, "no length\n")
        for body in (b"", b"{", b"\xff\xfe", b"[" * 500_000):
            assert relay.post(body) == (400, "no JSON\n")
        assert relay.post(b'{"a": "' + b"x" * (MAX_BODY - 9) + b'"}') == (200, "ignored\n")
        assert relay.send()[0] == 200
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429, 500, 503, 200])
def test_a_refusal_of_github_is_a_bad_gateway_for_the_hub(api: Api, status: int) -> None:
    """The Hub then shows the event as failed, to be sent again."""
    api.status = status
    with running(api.url) as relay:
        assert relay.send() == (502, f"'some-user/some-repo': GitHub answered {status}\n")
        api.status = 204
        assert relay.send()[0] == 200
    assert re.search(rf" 502 'some-user/some-repo': GitHub answered {status}$", relay.log[-2])


def test_a_redirect_does_not_get_the_token(api: Api) -> None:
    elsewhere = Api()
    api.location = f"{elsewhere.url}/repos/acme/models/dispatches"
    with listening(elsewhere), running(api.url) as relay:
        for status in (301, 302, 303, 307, 308):
            api.status = status
            assert relay.send() == (502, f"'some-user/some-repo': GitHub answered {status}\n")
    assert elsewhere.requests == []


def test_a_github_out_of_reach_is_a_bad_gateway_too() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(f"http://127.0.0.1:{port}") as relay:
        status, words = relay.send()
    assert status == 502
    assert words == "'some-user/some-repo': GitHub cannot be reached (URLError)\n"


def test_a_name_cannot_write_lines_of_its_own_into_the_log(api: Api) -> None:
    name = "acme/tiny\n::error::forged\x1b[2J" + "x" * 1000
    with running(api.url) as relay:
        assert relay.send(repo={"type": "model", "name": name})[0] == 200
    assert len(relay.log) == 2
    assert r"'acme/tiny\n::error::forged\x1b[2J" in relay.log[-1]
    assert len(relay.log[-1]) < 300


def test_a_broken_request_is_not_logged_with_what_it_holds(api: Api) -> None:
    with running(api.url) as relay:
        for line in (f"POST /?secret={SECRET} HTTP/9.9 x", f"{SECRET}", f"GET /?secret={SECRET} HTTP/1.1"):
            with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
                connection.sendall(f"{line}\r\n\r\n".encode())
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        assert relay.send()[0] == 200
    assert len(api.requests) == 1


@contextmanager
def inside(api: Api, *, patience: float) -> Iterator[tuple[str, int]]:
    """A relay in this process, with a shorter patience."""
    settings = Settings(
        secret=SECRET,
        token=TOKEN,
        repository="acme/models",
        event_type="requantize",
        api=api.url,
        host="127.0.0.1",
        port=0,
    )
    assert SECRET not in repr(settings)
    assert TOKEN not in repr(settings)
    relay = Relay(settings, patience=patience)
    with listening(relay):
        yield "127.0.0.1", relay.server_address[1]


@pytest.mark.parametrize(
    "start",
    ["", "POST / HTTP/1.1\r\nX-Webhook-Secret: ", f"POST / HTTP/1.1\r\nContent-Length: {MAX_BODY}\r\n\r\n"],
    ids=["request line", "header", "body"],
)
def test_whoever_sends_a_byte_at_a_time_is_cut_off(api: Api, start: str) -> None:
    with inside(api, patience=1.0) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(start.encode())
        assert any(is_closed(connection) for _ in range(100))


def is_closed(connection: socket.socket) -> bool:
    """Whether a further byte, a tenth of a second later, meets a closed end."""
    time.sleep(0.1)
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_connections_that_say_nothing_do_not_pile_up_nor_last(api: Api) -> None:
    with inside(api, patience=4.0) as address:
        silent = [socket.create_connection(address, timeout=20) for _ in range(MAX_CONNECTIONS)]
        time.sleep(0.5)
        with socket.create_connection(address, timeout=20) as extra:
            assert extra.recv(1) == b""
        # That one was closed at once: the others are still waited for.
        silent[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[0].recv(1)
        silent[0].settimeout(20)
        for connection in silent:
            assert connection.recv(1) == b""
            connection.close()
        time.sleep(0.5)
        assert Running(port=address[1]).send()[0] == 200


def start(env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=variables(**env),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_docs_name_every_variable_with_its_default() -> None:
    text = (ROOT / "docs" / "how-to" / "requantize.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]+)`? \|", text, re.MULTILINE)
    assert dict(rows) == {name: DEFAULTS.get(name, "required") for name in ALLOWED}
    for name, default in rows:
        assert name in (program.__doc__ or "")
        assert default == "required" or default in (program.__doc__ or "")


def test_everything_that_is_missing_is_named_at_once() -> None:
    done = start({"WEBHOOK_SECRET": ""})
    assert done.returncode == 2
    for name in ("WEBHOOK_SECRET", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        assert f"{name} is not set" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_REPOSITORY", "https://github.com/acme/models"),
        ("GITHUB_TOKEN", f"{TOKEN}\n"),
        ("WEBHOOK_SECRET", f"{SECRET} é"),
        ("GITHUB_API_URL", "file:///etc"),
        ("GITHUB_API_URL", "http://["),
        ("EVENT_TYPE", "x" * 101),
        ("RELAY_PORT", "http"),
        ("RELAY_HOST", "::1"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_value(name: str, value: str) -> None:
    whole = {"WEBHOOK_SECRET": SECRET, "GITHUB_REPOSITORY": "acme/models", "GITHUB_TOKEN": TOKEN}
    done = start({**whole, name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"{name} cannot be used. ")
    assert SECRET not in done.stderr
    assert TOKEN not in done.stderr


def test_an_address_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        whole = {"WEBHOOK_SECRET": SECRET, "GITHUB_REPOSITORY": "acme/models", "GITHUB_TOKEN": TOKEN}
        done = start({**whole, "RELAY_PORT": port})
        assert done.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}: " in done.stderr
    assert start({**whole, "RELAY_PORT": "70000"}).returncode == 2
