"""On which machines and Pythons the lock files install, and where CI tests that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.wording import joined
from tools.bootstrap import MACHINES, PROFILES, PYTHONS, Machine
from tools.docs.markdown import table
from tools.lock_files import read_pins

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
TESTED, LOCKED = "tested", "locked"


def tables(ci: Mapping[Any, Any]) -> dict[str, str]:
    """`machines`: a row for each machine; `machines.source`: what has no wheel.

    Args:
        ci: the workflow that tests.
    """
    tested = {
        (_machine(runner), python)
        for job in ("test", "machines")
        for runner, python in _places(ci["jobs"][job])
    }
    releases = [f"{major}.{minor}" for major, minor in PYTHONS]
    rows = (
        [machine.name, *(TESTED if (machine.name, release) in tested else LOCKED for release in releases)]
        for machine in MACHINES
    )
    head = ["Machine", *(f"Python {release}" for release in releases)]
    return {"machines": table(head, rows), "machines.source": f"{_source()}\n"}


def _places(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    matrix = job["strategy"]["matrix"]
    return [
        (runner, python) for runner in matrix.get("runner", [job["runs-on"]]) for python in matrix["python"]
    ]


def _machine(runner: str) -> str:
    """What a runner of GitHub's is, by its label."""
    if runner.startswith("macos-"):
        found = _called("Darwin", "arm64")
    else:
        found = _called("Linux", "aarch64" if runner.endswith("-arm") else "x86_64")
    return found.name


def _called(system: str, architecture: str) -> Machine:
    return next(one for one in MACHINES if (one.system, one.architecture) == (system, architecture))


def _source() -> str:
    names = {
        pin.package
        for file in {file for profile in PROFILES.values() for file in profile}
        for pin in read_pins((REQUIREMENTS / file).read_text(encoding="utf-8"))
        if not any(name.endswith(".whl") for name in pin.files)
    }
    return joined(f"`{name}`" for name in sorted(names))
