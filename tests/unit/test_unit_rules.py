"""The rules of tests/unit/conftest.py hold."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys

import pytest


def test_a_unit_test_cannot_start_a_process() -> None:
    with pytest.raises(AssertionError, match="must not start a process; move it to tests/integration"):
        subprocess.run([sys.executable, "-c", ""])
    with pytest.raises(AssertionError, match="start a process"):
        os.system("true")  # noqa: S605


def test_a_unit_test_cannot_fork() -> None:
    process = multiprocessing.get_context("fork").Process(target=print)
    with pytest.raises(AssertionError, match="start a process"):
        process.start()


@pytest.mark.parametrize("method", ["connect", "connect_ex", "bind"])
def test_a_unit_test_cannot_open_a_connection(method: str) -> None:
    with socket.socket() as endpoint, pytest.raises(AssertionError, match="must not open a connection"):
        getattr(endpoint, method)(("127.0.0.1", 9))
