"""Waiting that takes no time, for those only who wait for the Hub."""

from __future__ import annotations

import sys
import time

import pytest


def wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let neither the client nor our retries sleep; the seconds that they asked for.

    All others sleep as ever: a library's thread that looks after something now and then would turn into one
    that fills the memory with how long it did not wait.
    """
    waited: list[float] = []
    sleep = time.sleep

    def record(seconds: float) -> None:
        caller = str(sys._getframe(1).f_globals["__name__"])
        if caller.startswith(("huggingface_hub.", "quantize_lib.")):
            waited.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", record)
    return waited
