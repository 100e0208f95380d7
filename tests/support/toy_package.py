"""A copy of the package to which a test adds an entry of an axis, as one new file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from quantize_lib.files import sha256_file
from tests.support.small_runs import environment

ROOT = Path(__file__).resolve().parents[2]
TOYS = ROOT / "tests" / "toys"
_COPIED = ("quantize_lib", "schemas")


class ToyPackage:
    """A copy in a folder of its own, and the command as it runs there.

    Args:
        folder: where the copy goes; made.
        toys: what is added: files of tests/toys, each with the place in the package that it gets.
    """

    def __init__(self, folder: Path, **toys: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in _COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.added = {place: TOYS / f"{name}.py" for name, place in toys.items()}
        for place, toy in self.added.items():
            target = folder / "quantize_lib" / place
            assert not target.exists(), f"{place} is there already"
            shutil.copyfile(toy, target)

    def environment(self, **more: str) -> dict[str, str]:
        """This process's environment, in which Python finds the copy first, and `more`."""
        return environment(PYTHONPATH=str(self.folder), PYTHONSAFEPATH="1", **more)

    def run(self, *words: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """`python -m quantize_lib …` of the copy; never with a traceback.

        Args:
            cwd: the current folder.
            more: environment variables.
        """
        done = subprocess.run(
            [sys.executable, "-m", "quantize_lib", *map(str, words)],
            cwd=cwd,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def others(self) -> list[str]:
        """The files of the copy that are neither the original's nor the toys; nothing else is touched."""
        changed = []
        for name in _COPIED:
            for folder, _, files in os.walk(self.folder / name):
                for file in files:
                    path = Path(folder, file)
                    inside = path.relative_to(self.folder)
                    if path.suffix == ".pyc" or inside.relative_to(name).as_posix() in self.added:
                        continue
                    original = ROOT / inside
                    if not original.is_file() or sha256_file(original) != sha256_file(path):
                        changed.append(inside.as_posix())
        return changed
