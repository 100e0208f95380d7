"""Unit tests are fast because they cannot be slow: no process, no connection."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any, NoReturn

import pytest


class ForbiddenInUnitTestError(AssertionError):
    """A unit test did what only an integration test may do."""


def _forbid(what: str) -> Any:
    def forbidden(*_arguments: object, **_options: object) -> NoReturn:
        raise ForbiddenInUnitTestError(f"a unit test must not {what}; move it to tests/integration")

    return forbidden


@pytest.fixture(scope="session", autouse=True)
def fonts_are_known() -> None:
    """When matplotlib is first imported on a machine, it asks a process which fonts there are."""
    import matplotlib.font_manager

    assert matplotlib.font_manager.fontManager.ttflist


@pytest.fixture(autouse=True)
def no_process_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise where a test starts a process or opens a connection."""
    monkeypatch.setattr(subprocess.Popen, "__init__", _forbid("start a process"))
    # Popen's destructor looks at what its __init__ would have set.
    monkeypatch.setattr(subprocess.Popen, "__del__", lambda _self: None)
    for name in ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp"):
        monkeypatch.setattr(os, name, _forbid("start a process"))
    for name in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, name, _forbid("open a connection"))


@pytest.fixture(autouse=True)
def no_tokenizer_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying one takes a process; a plan goes on without, as in the light install."""
    monkeypatch.setattr("quantize_lib.host.tokenizers.can_ask", lambda: False)
