"""On which machines and Pythons the lock files install, and where CI tests that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.wording import joined
from tools.bootstrap import MACHINES, PROFILES, PYTHONS, Machine
from tools.docs.markdown import code, table
from tools.lock_files import read_pins

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
TESTED, LOCKED = "tested", "locked"


def tables(ci: Mapping[Any, Any]) -> dict[str, str]:
    """`machines`: a row for each machine; `machines.missing`: what is locked for some of them alone;
    `machines.source`: what has no wheel.

    Args:
        ci: the workflow that tests.
    """
    tested = {
        (_machine(runner), python)
        for job in ("test", "machines")
        for runner, python in _places(ci["jobs"][job])
    }
    releases = list(map(_release, PYTHONS))
    rows = (
        [machine.name, *(TESTED if (machine.name, release) in tested else LOCKED for release in releases)]
        for machine in MACHINES
    )
    head = ["Machine", *(f"Python {release}" for release in releases)]
    return {
        "machines": table(head, rows),
        "machines.missing": table(["Package", "Missing on"], _missing()),
        "machines.source": f"{_source()}\n",
    }


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


def _missing() -> list[list[str]]:
    """The packages of the CPU's environment that are not for every place, each with the places."""
    pins = read_pins((REQUIREMENTS / "cpu.txt").read_text(encoding="utf-8"))
    rows = []
    for package in sorted({pin.package for pin in pins if pin.marker}):
        several = [pin for pin in pins if pin.package == package]
        lacking = {
            machine.name: [
                python for python in PYTHONS if not any(one.applies(machine, python) for one in several)
            ]
            for machine in MACHINES
        }
        places = [
            name if len(pythons) == len(PYTHONS) else f"{name} with Python {joined(map(_release, pythons))}"
            for name, pythons in lacking.items()
            if pythons
        ]
        if places:
            rows.append([code(package), "; ".join(places)])
    return rows


def _release(python: tuple[int, int]) -> str:
    return ".".join(map(str, python))


def _source() -> str:
    names = {
        pin.package
        for file in {file for profile in PROFILES.values() for file in profile}
        for pin in read_pins((REQUIREMENTS / file).read_text(encoding="utf-8"))
        if not any(name.endswith(".whl") for name in pin.files)
    }
    return joined(f"`{name}`" for name in sorted(names))
