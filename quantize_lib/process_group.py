"""Ends a program with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

_GRACE_SECONDS = 5.0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left: the program politely, where it still runs, and its process group at once.

    Args:
        process: the leader of its group (`start_new_session=True`).
    """
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
