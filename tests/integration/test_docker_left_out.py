"""Where no Docker engine answers: its tests are left out with a word about it, and in CI they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"
BODY = """
import pytest

@pytest.mark.docker
def test_needs_an_engine():
    import docker
    docker.from_env().ping()

def test_needs_none():
    pass
"""


def run_pytest(folder: Path, *, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_body.py").write_text(BODY, encoding="utf-8")
    # Options of the pytest around it are not this one's.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**env, "CI": ci, "DOCKER_HOST": f"unix://{folder}/no-engine.sock"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_outside_ci_they_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, ci="")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 deselected" in done.stdout
    assert "1 tests were left out: they need a Docker engine" in done.stdout


def test_in_ci_they_fail(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, ci="true")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
