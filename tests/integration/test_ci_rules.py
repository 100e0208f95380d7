"""In CI a test that does not run fails: the rule of tests/conftest.py, tried on a real pytest run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"

PASSES = "def test_it():\n    assert 1 + 1 == 2\n"
NOT_RUN = {
    "skip mark": "import pytest\n@pytest.mark.skip(reason='later')\ndef test_it():\n    pass\n",
    "skip call": "import pytest\ndef test_it():\n    pytest.skip('later')\n",
    "skip in a fixture": (
        "import pytest\n@pytest.fixture\ndef thing():\n    pytest.skip('later')\n"
        "def test_it(thing):\n    pass\n"
    ),
    "module skip": "import pytest\npytest.skip('later', allow_module_level=True)\n",
    "missing import": "import pytest\npytest.importorskip('no_such_module_later')\n",
    "expected failure": (
        "import pytest\n@pytest.mark.xfail(reason='later')\ndef test_it():\n    raise ValueError\n"
    ),
}


def run_pytest(folder: Path, bodies: list[str], *, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    for index, body in enumerate(bodies):
        (folder / f"test_body_{index}.py").write_text(body, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rA",
        "--continue-on-collection-errors",
    ]
    # Options of the pytest around it are not this one's.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | {"CI": ci}
    return subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def ci_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says in CI of a folder in which nothing runs."""
    result = run_pytest(tmp_path_factory.mktemp("ci"), list(NOT_RUN.values()), ci="true")
    assert result.returncode not in (0, 5)
    return result.stdout


@pytest.mark.parametrize("index", range(len(NOT_RUN)), ids=list(NOT_RUN))
def test_in_ci_a_test_that_does_not_run_fails(ci_output: str, index: int) -> None:
    lines = [line for line in ci_output.splitlines() if f"test_body_{index}.py" in line]
    assert any(line.startswith(("FAILED", "ERROR")) for line in lines), ci_output


def test_in_ci_it_is_said_why_a_test_did_not_run(ci_output: str) -> None:
    reasons = [line for line in ci_output.splitlines() if "in CI every test runs, this one did not" in line]
    assert len([line for line in reasons if "later" in line]) >= len(NOT_RUN)


def test_outside_ci_a_test_may_be_skipped(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, [*NOT_RUN.values(), PASSES], ci="")
    assert result.returncode == 0, result.stdout


def test_in_ci_a_passing_test_passes(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, [PASSES], ci="true")
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 passed")
