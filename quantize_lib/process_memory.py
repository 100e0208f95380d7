"""How much memory processes have needed, and giving back what this one no longer needs."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def peak_resident_bytes() -> int:
    """Peak resident memory of this process."""
    # ru_maxrss of a new process starts at its parent's peak (Linux carries it over exec); VmHWM does not.
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident_bytes() -> int:
    """Resident memory of this process now; its peak so far where the system does not tell."""
    now = _status("VmRSS")
    return peak_resident_bytes() if now is None else now


def peak_of_group(group: int) -> int | None:
    """Peak resident memory of all processes of a process group that are alive, each at its own peak.

    What several of them share counts for each. None where the system does not tell.
    """
    peaks = []
    for folder in Path("/proc").glob("[0-9]*"):
        # One that has just ended has no group any more.
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(int(folder.name)) == group:
                peaks.append(_status("VmHWM", folder.name))
    found = [peak for peak in peaks if peak is not None]
    return sum(found) if found else None


def _status(key: str, process: str = "self") -> int | None:
    """Bytes that Linux tells of a process."""
    with suppress(OSError):
        status = Path("/proc", process, "status").read_text(encoding="ascii", errors="replace")
        for line in status.splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def peak_memory(device: str) -> int:
    """Peak memory in bytes: of the device on CUDA, else resident memory of this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def share_one_heap() -> None:
    """Let all threads allocate from one heap, where the C library is glibc; call it before any thread starts.

    With a heap for each thread (mallopt(3), M_ARENA_MAX) every one keeps freed pieces for itself: a tenth
    more at a peak, and no faster. The large matrices are mapped one by one in any case.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)


def release_freed() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    It keeps freed pieces of up to 32 MiB for later, and lets what is between them grow (mallopt(3),
    M_MMAP_THRESHOLD): hidden states and narrow layers are of that size.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
