"""What a benchmark ran on: read from the machine, never typed."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, its matrix and vector units, cores that this process may use, and memory in bytes."""
    units = (_cpuinfo("flags") or "").split()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "processor": processor(),
        "cores": len(cores),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "avx512": "avx512f" in units,
        "avx512_bfloat16": "avx512_bf16" in units,
        "amx_bfloat16": "amx_bf16" in units,
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str | None:
    """The first processor's value; None where the system has no such file, as outside Linux."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return None
    found = re.search(rf"^{key}\s*: (.+)$", path.read_text(encoding="utf-8", errors="replace"), flags=re.M)
    return found[1] if found else None
