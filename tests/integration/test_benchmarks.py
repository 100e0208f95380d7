"""Everyone can start the benchmarks: nothing is measured here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__name__" in path.read_text(encoding="utf-8")
)


def _run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_the_scripts_are_there() -> None:
    assert {"engine", "compare_gptqmodel", "compare_awq", "speed", "memory", "gpu"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_says_how_it_is_started(script: str) -> None:
    said = _run("-m", f"benchmarks.{script}", "--help")
    assert re.search(rf"python -m benchmarks\.{script}\b", said)


def test_the_engine_has_every_part_that_is_timed() -> None:
    _run("-c", "from benchmarks.passes import clocked; clocked()")
