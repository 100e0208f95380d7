"""What stands in a lock file: pins with the files that each machine and Python of `tools.bootstrap` takes.

Before each pin a comment names its files, in the order of their hashes, so that it can be checked without a
network that there is one for every machine.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from tools.bootstrap import Machine

HEADER = "# Written by tools/lock.py (`make lock`); do not edit.\n"
_ENTRY = re.compile(
    r"(?P<files>(?:# \S+\n)+)"
    r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[a-z0-9, _-]+\])?==(?P<version>[^\s;]+)"
    r"(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)
_OLDEST_MANYLINUX = 5
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Names of the time before wheels named glibc's release (PEP 600), by glibc's minor release."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package of a lock file.

    Attributes:
        name: of the package, with its extras in brackets where they were asked for.
        marker: where it is installed; "" for everywhere.
        files: name → sha256 in hex.
    """

    name: str
    version: str
    marker: str
    files: Mapping[str, str]

    @property
    def package(self) -> str:
        """The name without extras."""
        return self.name.partition("[")[0]

    def applies(self, machine: Machine, python: tuple[int, int]) -> bool:
        """Whether it is installed there."""
        return not self.marker or Marker(self.marker).evaluate(environment(machine, python))

    def text(self) -> str:
        """As it is written."""
        names = "".join(f"# {name}\n" for name in self.files)
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in self.files.values())
        return f"{names}{self.name}=={self.version}{' ; ' if self.marker else ''}{self.marker}{hashes}\n"


def read_pins(text: str) -> list[Pin]:
    """The pins of a lock file.

    Raises:
        ValueError: there is something else in it, or a pin's names and hashes differ in number.
    """
    pins = []
    for found in _ENTRY.finditer(text):
        names, hashes = re.findall(r"# (\S+)", found["files"]), re.findall(r"sha256:(\w+)", found["hashes"])
        pins.append(
            Pin(
                name=found["name"] + (found["extras"] or ""),
                version=found["version"],
                marker=found["marker"] or "",
                files=dict(zip(names, hashes, strict=True)),
            )
        )
    if HEADER + "".join(pin.text() for pin in pins) != text:
        raise ValueError("there is more in it than pins")
    return pins


def environment(machine: Machine, python: tuple[int, int]) -> dict[str, str]:
    """The values by which markers are decided (PEP 508)."""
    release = f"{python[0]}.{python[1]}"
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine.architecture,
        "platform_python_implementation": "CPython",
        "platform_system": machine.system,
        "python_full_version": f"{release}.0",
        "python_version": release,
        "sys_platform": machine.system.lower(),
    }


def _platforms(machine: Machine) -> Iterator[str]:
    if machine.system == "Darwin":
        yield from mac_platforms(machine.oldest, machine.architecture)
        return
    major, minor = machine.oldest
    for release in range(minor, _OLDEST_MANYLINUX - 1, -1):
        yield f"manylinux_{major}_{release}_{machine.architecture}"
        if release in _LEGACY:
            yield f"{_LEGACY[release]}_{machine.architecture}"


@functools.cache
def ranks_of(machine: Machine, python: tuple[int, int]) -> Mapping[Tag, int]:
    """The wheels that pip takes there; the lower, the better."""
    platforms = list(_platforms(machine))
    interpreter = f"cp{python[0]}{python[1]}"
    tags = [*cpython_tags(python, platforms=platforms), *compatible_tags(python, interpreter, platforms)]
    return {tag: rank for rank, tag in enumerate(tags)}


def wheel_for(names: Iterable[str], machine: Machine, python: tuple[int, int]) -> str | None:
    """The best of a release's files for a machine and a Python; None where no wheel of them fits."""
    ranks = ranks_of(machine, python)
    fitting = []
    for name in names:
        if name.endswith(".whl"):
            _, _, build, offered = parse_wheel_filename(name)
            if fit := [ranks[tag] for tag in offered if tag in ranks]:
                fitting.append((min(fit), build, name))
    return min(fitting)[2] if fitting else None
