"""Make an environment from the lock files; only what changed is done again. Standard library only.

    python3 tools/bootstrap.py            .venv with what `make demo` needs
    python3 tools/bootstrap.py --dev      also the test tools
    python3 tools/bootstrap.py --profile core --venv DIR      for users: the light core, or `cpu`, or `cuda`

The lock files are for the machines in `MACHINES` and the Pythons in `PYTHONS`: pip takes the lines whose
marker holds, and of a line's files the one that fits. Every package is checked against the hash in its lock
file. Build tools come first and source packages are built with them, so that no build fetches anything that
is not pinned.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = "bootstrap-stamp"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
"""Releases of CPython whose files are in the lock files."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A kind of machine whose files are in the lock files.

    Attributes:
        name: for people.
        system: `platform.system()`.
        architecture: `platform.machine()`, in lower case.
        oldest: the release of the system that the files are for: glibc's, or macOS's.
        cuda: whether `cuda.txt` is for it, too.
    """

    name: str
    system: str
    architecture: str
    oldest: tuple[int, int]
    cuda: bool = False


MACHINES = (
    Machine(name="Linux x86-64", system="Linux", architecture="x86_64", oldest=(2, 28), cuda=True),
    Machine(name="Linux aarch64", system="Linux", architecture="aarch64", oldest=(2, 28)),
    Machine(name="macOS on Apple Silicon", system="Darwin", architecture="arm64", oldest=(14, 0)),
)
OTHER_NAMES = {"amd64": "x86_64"}
"""What some systems call an architecture."""
PROFILES = {
    "core": ["build.txt", "core.txt"],
    "cpu": ["build.txt", "cpu.txt", "gptqmodel.txt"],
    "cuda": ["build.txt", "cuda.txt", "gptqmodel.txt"],
    "demo": ["build.txt", "cpu.txt", "gptqmodel.txt", "demo.txt"],
    "dev": ["build.txt", "cpu.txt", "gptqmodel.txt", "demo.txt", "tasks.txt", "dev.txt"],
}
"""Lock files, in the order in which they are installed."""


class BootstrapError(Exception):
    """The environment cannot be made; the text says what to do."""


def this_machine() -> Machine:
    """The machine that this is; an error for one that the lock files have no hashes for."""
    system, architecture = platform.system(), platform.machine().lower()
    architecture = OTHER_NAMES.get(architecture, architecture)
    for machine in MACHINES:
        if (machine.system, machine.architecture) == (system, architecture):
            return machine
    known = ", ".join(machine.name for machine in MACHINES)
    if system == "Windows":
        advice = "On Windows work inside WSL, which is Linux: wsl --install, then clone the repository there."
    else:
        advice = "Install without them: python3 -m venv .venv && .venv/bin/pip install -e '.[cpu,demo,dev]'"
    raise BootstrapError(f"the lock files are for {known}; this is {system} {architecture}.\n  {advice}")


def check_machine(profile: str) -> None:
    """Refuse what the lock files have no hashes for, before anything is downloaded."""
    machine = this_machine()
    if profile == "cuda" and not machine.cuda:
        able = " and ".join(machine.name for machine in MACHINES if machine.cuda)
        raise BootstrapError(
            f"--profile cuda: its lock file is for {able}, this is {machine.name}.\n  Take --profile cpu."
        )
    if sys.version_info[:2] not in PYTHONS:
        allowed = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        raise BootstrapError(
            f"{sys.executable} is Python {platform.python_version()}; the lock files are for {allowed}.\n"
            "  Name another one: make PYTHON=python3.11 …"
        )


def stamp(names: list[str]) -> str:
    """Digest of everything that decides what is installed."""
    machine = f"{platform.system()} {platform.machine()}"
    digest = hashlib.sha256(f"{sys.version_info[:3]} {machine} {names}".encode())
    for path in [ROOT / "requirements" / name for name in names] + [ROOT / "pyproject.toml", Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pytorch_index_answers() -> bool:
    """Whether PyTorch's own index can be reached; pip may know another place for the same file."""
    request = urllib.request.Request(f"{PYTORCH_CPU_INDEX}/torch/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def pip(venv: Path, *arguments: str) -> None:
    """Run pip inside the environment."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise BootstrapError(
            f"this failed: pip {' '.join(arguments)}\n"
            "  pip's message above says why. Without a network, point PIP_FIND_LINKS to a folder of wheels;\n"
            f"  the CPU build of torch comes from {PYTORCH_CPU_INDEX}."
        )


def install(venv: Path, name: str, *options: str) -> None:
    """Install one lock file."""
    print(f"bootstrap: requirements/{name}", flush=True)
    pip(venv, "install", "-qq", "--require-hashes", *options, "-r", f"requirements/{name}")


def options_for(name: str) -> list[str]:
    """pip's options for one lock file."""
    if name == "build.txt":
        return []
    if name == "gptqmodel.txt":
        return ["--no-build-isolation", "--no-deps"]
    # For macOS PyPI has the same file.
    if name == "cpu.txt" and platform.system() == "Linux":
        if pytorch_index_answers():
            return ["--no-build-isolation", "--extra-index-url", PYTORCH_CPU_INDEX]
        print(
            "bootstrap: PyTorch's index does not answer, so the CPU build of torch must be where pip looks\n"
            "  anyway; should pip say below that torch has another hash, it found only the CUDA build",
            flush=True,
        )
    return ["--no-build-isolation"]


def bootstrap(venv: Path, profile: str) -> None:
    """Make the environment, or leave it alone where it is what the lock files say."""
    check_machine(profile)
    wanted = stamp(PROFILES[profile])
    # An environment that has the test tools too serves `make demo` as it is.
    enough = (wanted, stamp(PROFILES["dev"])) if profile == "demo" else (wanted,)
    made = venv / STAMP
    if made.is_file() and made.read_text(encoding="utf-8") in enough:
        return
    made.unlink(missing_ok=True)
    if not (venv / "bin" / "python").exists():
        print(f"bootstrap: making {venv.name} with Python {platform.python_version()}", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        if subprocess.run([sys.executable, "-I", "-m", "venv", str(venv)]).returncode != 0:
            shutil.rmtree(venv, ignore_errors=True)
            raise BootstrapError("python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv")
    for name in PROFILES[profile]:
        install(venv, name, *options_for(name))
    # Who develops wants the sources; who only uses the tool gets a copy.
    editable = ["--editable"] if profile in ("demo", "dev") else []
    pip(venv, "install", "-qq", "--no-build-isolation", "--no-deps", *editable, ".")
    made.write_text(wanted, encoding="utf-8")
    print("bootstrap: done", flush=True)


def main() -> int:
    """Parse the command line; exit 1 with a reason where the environment cannot be made."""
    parser = argparse.ArgumentParser(description="Make an environment from the lock files.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--profile", choices=PROFILES, default="demo", help="what to install; default: demo")
    what.add_argument(
        "--dev", action="store_const", const="dev", dest="profile", help="also install the test tools"
    )
    parser.add_argument("--venv", type=Path, default=VENV, metavar="DIR", help="default: .venv")
    arguments = parser.parse_args()
    # A caller's own environment must not leak into the new one.
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"):
        os.environ.pop(name, None)
    try:
        bootstrap(arguments.venv.absolute(), arguments.profile)
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
