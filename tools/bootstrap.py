"""Make `.venv` from the lock files; only what changed is done again. Standard library only.

    python3 tools/bootstrap.py            what `make demo` needs
    python3 tools/bootstrap.py --dev      also the test tools

Every package is checked against the hash in its lock file. Build tools come first and source packages are
built with them, so that no build fetches anything that is not pinned.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "bootstrap-stamp"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3
SUPPORTED = ((3, 11), (3, 12))


class BootstrapError(Exception):
    """The environment cannot be made; the text says what to do."""


def check_machine() -> None:
    """Refuse a machine that the lock files have no hashes for, before anything is downloaded."""
    if (system := f"{platform.system()} {platform.machine()}") not in ("Linux x86_64", "Linux AMD64"):
        raise BootstrapError(
            f"the lock files are for Linux x86-64, this is {system}.\n"
            "  Install without them: python3 -m venv .venv && .venv/bin/pip install -e '.[cpu,demo,dev]'"
        )
    if sys.version_info[:2] not in SUPPORTED:
        allowed = " or ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise BootstrapError(
            f"{sys.executable} is Python {platform.python_version()}; the lock files are for {allowed}.\n"
            "  Name another one: make PYTHON=python3.11 …"
        )


def stamp(names: list[str]) -> str:
    """Digest of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:3]} {names}".encode())
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


def pip(*arguments: str) -> None:
    """Run pip inside the environment."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise BootstrapError(
            f"this failed: pip {' '.join(arguments)}\n"
            "  pip's message above says why. Without a network, point PIP_FIND_LINKS to a folder of wheels;\n"
            f"  the CPU build of torch comes from {PYTORCH_CPU_INDEX}."
        )


def install(name: str, *options: str) -> None:
    """Install one lock file."""
    print(f"bootstrap: requirements/{name}", flush=True)
    pip("install", "-qq", "--require-hashes", *options, "-r", f"requirements/{name}")


def bootstrap(*, dev: bool) -> None:
    """Make the environment, or leave it alone where it is what the lock files say."""
    check_machine()
    names = ["build.txt", "cpu.txt", "gptqmodel.txt", "demo.txt", *(["dev.txt"] if dev else [])]
    wanted = stamp(names)
    # An environment that has the test tools too serves `make demo` as it is.
    with_dev = stamp([*names, "dev.txt"]) if not dev else wanted
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") in (wanted, with_dev):
        return
    STAMP.unlink(missing_ok=True)
    if not (VENV / "bin" / "python").exists():
        print(f"bootstrap: making {VENV.name} with Python {platform.python_version()}", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            raise BootstrapError("python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv")
    index: list[str] = []
    if pytorch_index_answers():
        index = ["--extra-index-url", PYTORCH_CPU_INDEX]
    else:
        print(
            "bootstrap: PyTorch's index does not answer, so the CPU build of torch must be where pip looks\n"
            "  anyway; should pip say below that torch has another hash, it found only the CUDA build",
            flush=True,
        )
    install("build.txt")
    install("cpu.txt", "--no-build-isolation", *index)
    install("gptqmodel.txt", "--no-build-isolation", "--no-deps")
    install("demo.txt", "--no-build-isolation")
    if dev:
        install("dev.txt", "--no-build-isolation")
    pip("install", "-qq", "--no-build-isolation", "--no-deps", "--editable", ".")
    STAMP.write_text(wanted, encoding="utf-8")
    print("bootstrap: done", flush=True)


def main() -> int:
    """Parse the command line; exit 1 with a reason where the environment cannot be made."""
    parser = argparse.ArgumentParser(description="Make .venv from the lock files.")
    parser.add_argument("--dev", action="store_true", help="also install the test tools")
    arguments = parser.parse_args()
    # A caller's own environment must not leak into the new one.
    for name in ("PYTHONPATH", "PYTHONHOME"):
        os.environ.pop(name, None)
    try:
        bootstrap(dev=arguments.dev)
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
