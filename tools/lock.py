"""Write the lock files in `requirements/` from pyproject.toml (`make lock`).

    python -m tools.lock                   what is locked stays; what pyproject.toml asks for anew is added
    python -m tools.lock --upgrade NAME…   also the newest releases of these, that pyproject.toml allows
    python -m tools.lock --upgrade         the newest releases of everything

One set of files serves all machines and Pythons that `tools/bootstrap.py` names: uv resolves for all at
once, a package that is not for all has a marker, and of its files those are kept that one of them takes. A
package that has wheels, but none for one of the machines, is an error; one without any wheel is built from
source everywhere. What is split off, and why:

- torch: the CPU build of a release and the CUDA build share a version. cpu.txt names the plain version
  with the hashes of CPU wheels only, so that pip takes no other, from wherever it finds one.
- gptqmodel.txt: GPTQModel's source package imports torch while it is built, so it goes into an
  environment that already has everything else.
- build.txt: the build tools for source packages, installed first and by hash; nothing is built in an
  isolated environment, whose contents no hash would pin.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from tools.bootstrap import MACHINES, PYTHONS, PYTORCH_CPU_INDEX, Machine
from tools.lock_files import HEADER, Pin, wheel_for

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TORCH_VERSION = "2.13.0"
TORCH_CPU_FILES = {
    # The file that is installed and tested here. All others as pinned in several independent public
    # repositories, those for macOS as on PyPI, too; not run here.
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    ),
    "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl": (
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2"
    ),
    "torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_x86_64.whl": (
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6"
    ),
    "torch-2.13.0+cpu-cp314-cp314-manylinux_2_28_x86_64.whl": (
        "d20fa53ee744502fa4c69818a720b05ca0d37abd055d4f6e66cae155114bc691"
    ),
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl": (
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7"
    ),
    "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_aarch64.whl": (
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604"
    ),
    "torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_aarch64.whl": (
        "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d"
    ),
    "torch-2.13.0+cpu-cp314-cp314-manylinux_2_28_aarch64.whl": (
        "ca021f9eb2f8345c83fa03e3a04587308afb8df71bd472670b3ece00df58621c"
    ),
    "torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl": (
        "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8"
    ),
    "torch-2.13.0-cp312-cp312-macosx_14_0_arm64.whl": (
        "2fe228aba290d14b9f31b049be550dbd469c3fd3013d7a19705b30454da97027"
    ),
    "torch-2.13.0-cp313-cp313-macosx_14_0_arm64.whl": (
        "33449899ce5496c1b84b4853179d94fd102028ae1407314d9fb956bb79e70d09"
    ),
    "torch-2.13.0-cp314-cp314-macosx_14_0_arm64.whl": (
        "d849b390e07d8d333ce8ecaf91b273c656c598379a19c9acf1318a883f6b391c"
    ),
}
BUILD_TOOLS = ("hatchling", "setuptools", "wheel")
_PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?==([^\s;]+)(?: ; (.+))?")


class LockError(Exception):
    """A package has no file for a machine; the text says which."""


def run_uv(requirements: str, *options: str, keep: str = "", form: str = "requirements.txt") -> str:
    """What uv resolves for every machine and Python at once.

    Args:
        requirements: a line each.
        keep: a lock file's text; its pins are taken again wherever they still fit.
        form: of the result, as uv calls it.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "requirements.in", Path(folder) / form
        source.write_text(requirements, encoding="utf-8")
        if keep:
            result.write_text(keep, encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--universal"]
        command += ["--format", form, "--python-version", ".".join(map(str, PYTHONS[0]))]
        # pip takes a package with an extra and without for two, and wants a pin of the one that is asked for.
        command += ["--no-strip-extras", "--no-build-isolation", "--python", sys.executable, *options]
        command += ["--output-file", str(result), str(source)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return result.read_text(encoding="utf-8")


def compile_lock(
    requirements: Sequence[str],
    *,
    agreeing: Sequence[str] = (),
    index: Sequence[str] = (),
    keep: str = "",
    machines: Sequence[Machine] = MACHINES,
) -> list[Pin]:
    """Resolve requirements, and choose the files that the machines take.

    Args:
        agreeing: earlier lock files, to whose versions this one keeps.
        index: options that say where there are files beside PyPI's.
        keep: as for `run_uv`.

    Raises:
        LockError: a package that has wheels has none for one of the machines.
    """
    constraints = [option for file in agreeing for option in ("--constraint", str(REQUIREMENTS / file))]
    resolved = run_uv("\n".join(requirements) + "\n", *constraints, *index, keep=keep)
    packages = tomllib.loads(run_uv(resolved, "--no-deps", *index, form="pylock.toml"))["packages"]
    offered = {(package["name"], package["version"]): files_of(package) for package in packages}
    pins: dict[str, Pin] = {}
    for name, extras, version, marker in _PIN.findall(resolved):
        pin = Pin(name=name, version=version, marker=marker.strip(), files={})
        if (name, version) == ("torch", f"{TORCH_VERSION}+cpu"):
            pin, files = Pin(name=name, version=TORCH_VERSION, marker=pin.marker, files={}), TORCH_CPU_FILES
        else:
            files = offered[name, version]
        if (chosen := choose(pin, files, machines)) is not None:
            for written in dict.fromkeys((name, name + extras)):
                pins[f"{written}=={version}"] = Pin(
                    name=written, version=chosen.version, marker=chosen.marker, files=chosen.files
                )
    return [pins[key] for key in sorted(pins)]


def files_of(package: dict[str, Any]) -> dict[str, str]:
    """The files of a package in a pylock.toml (PEP 751): name → sha256."""
    found = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    return {
        PurePosixPath(unquote(urlsplit(file["url"]).path)).name: file["hashes"]["sha256"] for file in found
    }


def choose(pin: Pin, files: dict[str, str], machines: Sequence[Machine]) -> Pin | None:
    """A pin with the files that the machines take, and without a marker that holds on all of them.

    Args:
        files: all of the release, name → sha256.

    Returns:
        None where the marker holds on none.

    Raises:
        LockError: as for `compile_lock`.
    """
    every = [(machine, python) for machine in machines for python in PYTHONS]
    places = [place for place in every if pin.applies(*place)]
    if any(name.endswith(".whl") for name in files):
        names = {place: wheel_for(files, *place) for place in places}
        if missing := [place for place, name in names.items() if name is None]:
            where = ", ".join(f"{machine.name} with Python {x}.{y}" for machine, (x, y) in missing)
            raise LockError(f"{pin.name} {pin.version} has no wheel for {where}")
        chosen = {name for name in names.values() if name is not None}
    else:
        chosen = set(files)
    if not places:
        return None
    return Pin(
        name=pin.name,
        version=pin.version,
        marker="" if places == every else pin.marker,
        files={name: files[name] for name in sorted(chosen)},
    )


def write_lock(name: str, pins: Sequence[Pin]) -> None:
    """Write one lock file."""
    (REQUIREMENTS / name).write_text(HEADER + "".join(pin.text() for pin in pins), encoding="utf-8")


def without(text: str, names: Collection[str]) -> str:
    """A lock file's text without the pins of some packages, named as lock files name them."""
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return "".join(entry for entry in entries if entry.partition("==")[0] not in names)


def main() -> int:
    """Write all lock files."""
    parser = argparse.ArgumentParser(description="Write the lock files in requirements/ from pyproject.toml.")
    parser.add_argument(
        "--upgrade", nargs="*", metavar="NAME", help="take the newest releases of these, or of everything"
    )
    upgrade: list[str] | None = parser.parse_args().upgrade

    def kept(*names: str) -> str:
        paths = [REQUIREMENTS / name for name in names]
        text = "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())
        return "" if upgrade == [] else without(text, upgrade or ())

    REQUIREMENTS.mkdir(exist_ok=True)
    if find_links := os.environ.get("PIP_FIND_LINKS"):
        cpu_torch = ["--find-links", find_links]
    else:
        cpu_torch = ["--extra-index-url", PYTORCH_CPU_INDEX, "--index-strategy", "unsafe-best-match"]

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core, extras = project["dependencies"], project["optional-dependencies"]

    write_lock("build.txt", compile_lock(BUILD_TOOLS, keep=kept("build.txt")))
    with_cuda = [machine for machine in MACHINES if machine.cuda]
    for name, index, machines in (("cpu", cpu_torch, MACHINES), ("cuda", [], with_cuda)):
        torch = f"torch=={TORCH_VERSION}" + ("+cpu" if name == "cpu" else "")
        # The extra `cuda` names the same packages as `cpu`.
        wanted, keep = [*core, *extras["cpu"], torch], kept(f"{name}.txt", "gptqmodel.txt")
        locked = compile_lock(wanted, agreeing=["build.txt"], index=index, keep=keep, machines=machines)
        write_lock(f"{name}.txt", [pin for pin in locked if pin.name != "gptqmodel"])
        write_lock("gptqmodel.txt", [pin for pin in locked if pin.name == "gptqmodel"])

    # The rest shares an environment with cpu.txt, so its versions are the same.
    shared = ["build.txt", "cpu.txt"]
    for name, requirements in (("core", core), *((name, extras[name]) for name in ("demo", "tasks", "dev"))):
        write_lock(f"{name}.txt", compile_lock(requirements, agreeing=shared, keep=kept(f"{name}.txt")))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LockError as error:
        sys.exit(f"lock: {error}")
