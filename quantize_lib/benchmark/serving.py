"""Starts a server for one model on the loopback address, and ends it with everything that it started."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from quantize_lib.benchmark.records import Protocol, Through
from quantize_lib.benchmark.servers import Load, Server, get_server
from quantize_lib.benchmark.servers.entry import HOST
from quantize_lib.environment import ending, server_environment
from quantize_lib.files import last_line
from quantize_lib.process_group import end_group
from quantize_lib.process_memory import peak_of_group
from quantize_lib.text import format_duration, plain

_READY_SECONDS = 3600.0
"""Large models are read, and compiled, for a long time."""
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 30.0
_MOST_BYTES = 1 << 20


class ServerError(Exception):
    """A server did not come up, or went away."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that answers.

    Attributes:
        port: on the loopback address.
        key: that its requests must have.
        load_seconds: from its start until it was ready.
        words: its title and version.
    """

    server: Server
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    key: str
    load_seconds: float
    words: str

    def peak_memory(self) -> int | None:
        """Bytes, of all its processes; None where the system does not tell."""
        return peak_of_group(self.process.pid)

    def check(self) -> None:
        """See whether it is still there.

        Raises:
            ServerError: where it ended.
        """
        _check(self.process, self.log, "while it was measured")


@contextmanager
def serving(through: Through, protocol: Protocol, log: Path) -> Iterator[Running]:
    """A server that has loaded a model; ended with its process group on any way out.

    Args:
        log: gets everything that it prints.

    Raises:
        ServerError: where it cannot be started, or ends before it is ready.
    """
    server = get_server(through.server)
    port = _free_port()
    load = Load(
        path=through.path,
        words=through.words,
        positions=max(protocol.prompt_lengths) + protocol.new_tokens,
        requests=max(protocol.batch_sizes),
        device=protocol.device,
        port=port,
    )
    key = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        started = time.monotonic()
        process = _start(through.program, server, load, key, Path(folder), output)
        try:
            _wait(process, port, key, log, started + _READY_SECONDS)
            seconds = time.monotonic() - started
            words = f"{server.title} {_version(server, port, key)}".strip()
            yield Running(
                server=server,
                process=process,
                log=log,
                port=port,
                key=key,
                load_seconds=seconds,
                words=words,
            )
        finally:
            end_group(process)


def _start(
    program: Path, server: Server, load: Load, key: str, folder: Path, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    environment = server_environment(program) | server.environment(load.device)
    words = server.words(load)
    if server.key_variable is None:
        words += server.key_words(key)
    else:
        environment[server.key_variable] = key
    try:
        return subprocess.Popen(
            [str(program), *words],
            # What happens to lie in the current folder is not to be imported.
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ServerError(f"{program} cannot be started: {error.strerror or error}") from error


def _wait(process: subprocess.Popen[bytes], port: int, key: str, log: Path, deadline: float) -> None:
    while True:
        # First: a port that somebody else took answers, too.
        _check(process, log, "before it was ready")
        if _ask(port, key, "/health") is not None:
            return
        if time.monotonic() > deadline:
            raise ServerError(f"it was not ready after {format_duration(_READY_SECONDS)} ({last_line(log)})")
        time.sleep(_POLL_SECONDS)


def _check(process: subprocess.Popen[bytes], log: Path, when: str) -> None:
    code = process.poll()
    if code is not None:
        how = "ended" if code == 0 else ending(code)
        raise ServerError(f"its server {how} {when} ({last_line(log)})")


def _ask(port: int, key: str, address: str) -> bytes | None:
    """What an address answers; None where it does not, or with an error."""
    try:
        with closing(HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)) as connection:
            connection.request("GET", address, headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            return answer.read(_MOST_BYTES) if answer.status == 200 else None
    except (OSError, HTTPException):
        return None


def _version(server: Server, port: int, key: str) -> str:
    """Nothing where it does not tell."""
    address, name = server.version_at
    with suppress(ValueError, TypeError, KeyError):
        return plain(str(json.loads(_ask(port, key, address) or b"{}")[name]))
    return ""


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])
