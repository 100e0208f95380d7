"""What a benchmark ran on: read from the machine, never typed."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
