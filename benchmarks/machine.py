"""What a benchmark ran on: read from the machine, never typed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """Processor, its matrix and vector units, cores that this process may use, and memory; Linux."""
    information = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^model name\s*: (.+)$", information, flags=re.M)
    flags = re.search(r"^flags\s*: (.+)$", information, flags=re.M)
    units = flags[1].split() if flags else []
    return {
        "processor": name[1] if name else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "avx512": "avx512f" in units,
        "amx_bfloat16": "amx_bf16" in units,
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of packages that are installed."""
    return {"Python": platform.python_version(), **{package: version(package) for package in packages}}


def commit() -> str:
    """The commit of this repository that is checked out, with a plus sign where the code differs from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "quantize_lib", "benchmarks/*.py")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
