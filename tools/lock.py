"""Write the lock files in `requirements/` from pyproject.toml (`make lock`).

    python tools/lock.py                   what is locked stays; what pyproject.toml asks for anew is added
    python tools/lock.py --upgrade NAME…   also the newest releases of these, that pyproject.toml allows
    python tools/lock.py --upgrade         the newest releases of everything

Every file is for CPython 3.11 on Linux x86-64; as hashes of all files of a release are kept, most of it
serves 3.12 and other platforms too. What is split off, and why:

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
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_VERSION = "2.13.0"
TORCH_CPU_HASHES = (
    # cp311 manylinux_2_28_x86_64: the file that is installed and tested here.
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    # cp312 manylinux_2_28_x86_64: as pinned in several independent public repositories; not run here.
    "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
)
BUILD_TOOLS = ("hatchling", "setuptools", "wheel")
HEADER = "# Written by tools/lock.py (`make lock`) for CPython 3.11 on Linux x86-64; do not edit.\n"


def compile_lock(requirements: list[str], *options: str, keep: str = "") -> dict[str, list[str]]:
    """Resolve requirements with uv: the pinned requirement → its hashes (hex sha256).

    Args:
        keep: a lock file's text; its pins and their hashes are taken again wherever they still fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        source.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        result.write_text(keep, encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        # pip takes a package with an extra and without for two, and wants a pin of the one that is asked for.
        command += ["--no-strip-extras", "--no-build-isolation", "--python", sys.executable, *options]
        command += ["--output-file", str(result), str(source)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        output = result.read_text(encoding="utf-8")
    locked: dict[str, list[str]] = {}
    names: list[str] = []
    for line in output.splitlines():
        if pin := re.match(r"([A-Za-z0-9._-]+(?:\[[^\]]*\])?==\S+)", line):
            names = sorted({pin[1], re.sub(r"\[.*\]", "", pin[1])})
            locked |= {name: [] for name in names}
        elif digest := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
            for name in names:
                locked[name].append(digest[1])
    return locked


def write_lock(name: str, locked: dict[str, list[str]]) -> None:
    """Write one lock file."""
    lines = [HEADER]
    for pin, digests in locked.items():
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests))
        lines.append(f"{pin}{hashes}\n")
    (REQUIREMENTS / name).write_text("".join(lines), encoding="utf-8")


def constrained(*files: str) -> list[str]:
    """Options that keep a lock file to the versions of earlier ones."""
    return [option for file in files for option in ("--constraint", str(REQUIREMENTS / file))]


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

    write_lock("build.txt", compile_lock(list(BUILD_TOOLS), keep=kept("build.txt")))
    for name, options in (("cpu", cpu_torch), ("cuda", [])):
        torch = f"torch=={TORCH_VERSION}" + ("+cpu" if name == "cpu" else "")
        # The extra `cuda` names the same packages as `cpu`.
        wanted, keep = [*core, *extras["cpu"], torch], kept(f"{name}.txt", "gptqmodel.txt")
        locked = compile_lock(wanted, *constrained("build.txt"), *options, keep=keep)
        gptqmodel = {pin: digests for pin, digests in locked.items() if pin.startswith("gptqmodel==")}
        locked = {pin: digests for pin, digests in locked.items() if pin not in gptqmodel}
        if name == "cpu":
            del locked[f"torch=={TORCH_VERSION}+cpu"]
            locked[f"torch=={TORCH_VERSION}"] = list(TORCH_CPU_HASHES)
        write_lock(f"{name}.txt", locked)
        write_lock("gptqmodel.txt", gptqmodel)

    # The rest shares an environment with cpu.txt, so its versions are the same.
    shared = constrained("build.txt", "cpu.txt")
    write_lock("core.txt", compile_lock(core, *shared, keep=kept("core.txt")))
    write_lock("demo.txt", compile_lock(extras["demo"], *shared, keep=kept("demo.txt")))
    write_lock("tasks.txt", compile_lock(extras["tasks"], *shared, keep=kept("tasks.txt")))
    write_lock("dev.txt", compile_lock(extras["dev"], *shared, keep=kept("dev.txt")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
