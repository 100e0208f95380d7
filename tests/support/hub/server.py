"""The Hub on the loopback address: connections, the log, and the faults."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.support.hub.faults import Fault
from tests.support.hub.routes import route
from tests.support.hub.state import Hub
from tests.support.hub.web import HubError, MovedError, Request, Response

Site = Literal["hub", "storage"]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve until the context ends; `hub.endpoint` is the address for HF_ENDPOINT."""
    servers = _Server(hub, "hub"), _Server(hub, "storage")
    hub.endpoint, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
    if hub.problems:
        raise ExceptionGroup("the test's Hub has a fault of its own", hub.problems)


@contextmanager
def serve_here(hub: Hub) -> Iterator[Hub]:
    """Serve, and let this process's client ask there: it read HF_ENDPOINT when it was imported."""
    from huggingface_hub import constants

    with serve(hub):
        before = constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE
        constants.ENDPOINT = hub.endpoint
        constants.HUGGINGFACE_CO_URL_TEMPLATE = before[1].replace(before[0], hub.endpoint)
        try:
            yield hub
        finally:
            constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE = before


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, site: Site) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), partial(_Handler, hub, site))

    def handle_error(self, *_: object) -> None:
        """Keep a fault of ours for the test to see; a client that hung up is its own business."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.hub.problems.append(error)


class _DroppedError(Exception):
    """The connection is to close without a further byte."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise a short answer waits 40 ms for the acknowledgement of the packet before it.
    disable_nagle_algorithm = True

    def __init__(self, hub: Hub, site: Site, *arguments: Any) -> None:
        self.hub, self.site = hub, site
        super().__init__(*arguments)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        # As a proxy it is asked with whole addresses.
        through_proxy = self.path.startswith(f"{self.hub.storage}/")
        with self.hub.lock:
            request = Request(
                number=len(self.hub.requests) + 1,
                site="storage" if through_proxy else self.site,
                method=self.command,
                target=self.path,
                headers=headers,
            )
            self.hub.requests.append(request)
            try:
                known, arguments = route(request)
                request.route = known.function.__name__
            except HubError:
                known, arguments = None, {}
            fault = next((fault for fault in self.hub.faults if fault.hits(request)), None)
        request.fault = fault.kind if fault else None
        try:
            request.body = self._body(headers, cut=fault is not None and fault.kind == "cut")
            if fault and fault.kind == "drop":
                raise _DroppedError
            if fault and fault.kind == "slow":
                # Not time.sleep: tests shorten the waits of the client, which runs in the same process.
                threading.Event().wait(fault.seconds)
            response = _failed(fault, request) if fault and fault.kind == "status" else None
            if response is None:
                response = self._answer(request, known.function if known else None, arguments)
            if fault and fault.kind == "lost":
                raise _DroppedError
            request.status = response.status
            self._send(request, response, fault)
        except _DroppedError:
            self.close_connection = True
        finally:
            request.over = True

    def _answer(self, request: Request, function: Any, arguments: dict[str, str]) -> Response:
        if function is None:
            return HubError(404, "Sorry, we can't find the page you are looking for.").response()
        try:
            with self.hub.lock:
                answered: Response = function(self.hub, request, **arguments)
            return answered
        except (HubError, MovedError) as error:
            return error.response()

    def _body(self, headers: dict[str, str], *, cut: bool) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := self._chunk_size():
                body += self.rfile.read(size)
                self.rfile.readline()
                if cut:
                    self._reset()
                    raise _DroppedError
            self.rfile.readline()
            return body
        length = int(headers.get("content-length", 0))
        if cut:
            self.rfile.read(length // 2)
            self._reset()
            raise _DroppedError
        body = self.rfile.read(length)
        if len(body) < length:
            raise _DroppedError
        return body

    def _chunk_size(self) -> int:
        line = self.rfile.readline()
        if not line:
            # The client is gone.
            raise _DroppedError
        return int(line.split(b";")[0], 16)

    def _send(self, request: Request, response: Response, fault: Fault | None) -> None:
        body = response.body
        if fault and fault.kind == "corrupt" and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        self.send_response(response.status)
        for name, text in response.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        if self.command == "HEAD":
            body = b""
        shown = body[: len(body) // 2] if fault and fault.kind == "truncated" else body
        # In one packet with the beginning of the body.
        head = b"".join([*self.__dict__.pop("_headers_buffer"), b"\r\n"])
        first = shown[:65536]
        try:
            self.wfile.write(head + first)
            request.sent = len(first)
            for start in range(65536, len(shown), 65536):
                request.sent += self.wfile.write(shown[start : start + 65536])
        except OSError:
            # The client had enough and hung up.
            self.close_connection = True
        if len(shown) < len(body):
            raise _DroppedError

    def _reset(self) -> None:
        """Let the connection end with a reset: the client is still sending."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _failed(fault: Fault, request: Request) -> Response:
    quoted = ""
    if fault.quotes:
        # A token, or what is to be traded for one.
        shown = request.headers.get("authorization") or request.json()["subject_token"]
        quoted = f" for {shown}"
    response = HubError(fault.status, f"Injected {fault.status}{quoted}").response()
    if fault.retry_after is not None:
        response.headers["Retry-After"] = fault.retry_after
    return response
