"""What a release checks and writes; used by .github/workflows/release.yml. Standard library only.

python3 tools/release.py ci COMMIT FILE       exit 1 where CI did not succeed on it, as GitHub says in FILE
python3 tools/release.py check VERSION REF    exit 1 with every reason against it
python3 tools/release.py major VERSION        print the tag that moves with every release of a major version
python3 tools/release.py images FOLDER        write the pushed images, by digest, into the file of the release
python3 tools/release.py notes VERSION        print the changelog's section
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "quantize_lib" / "executors" / "docker" / "image.json"
KINDS = ("cpu", "cuda")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}")


class ReleaseError(Exception):
    """The release cannot be made; the text says why."""


def notes(version: str, changelog: str) -> str:
    """The changelog's section on a version, without its heading."""
    heading = re.compile(rf"^## \[{re.escape(version)}\].*\n", re.MULTILINE)
    if (found := heading.search(changelog)) is None:
        raise ReleaseError(f"CHANGELOG.md has no section on {version}")
    return changelog[found.end() :].partition("\n## ")[0].strip() + "\n"


def check(version: str, ref: str, *, source: str, changelog: str, tags: set[str]) -> None:
    """Refuse a version that is not this commit's, not written down, or released already.

    Args:
        source: the text of quantize_lib/__init__.py.
        tags: that the repository has.
    """
    problems: list[str] = []
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is not of the form 1.2.3")
    if ref != "refs/heads/main":
        problems.append(f"a release is made from main, not from {ref}")
    if f'__version__ = "{version}"' not in source:
        problems.append(f"quantize_lib/__init__.py says another version than {version}")
    if f"v{version}" in tags:
        problems.append(f"v{version} is released already")
    try:
        notes(version, changelog)
    except ReleaseError as error:
        problems.append(str(error))
    if problems:
        raise ReleaseError("\n".join(problems))


def check_ci(commit: str, answer: dict[str, Any]) -> None:
    """Refuse a commit of main on which the newest run of CI is not one that succeeded.

    Args:
        answer: GitHub's, to `GET /repos/OWNER/NAME/actions/workflows/ci.yml/runs`.
    """
    # A pull request from the main of a fork differs in its event alone.
    runs = [
        run
        for run in answer["workflow_runs"]
        if (run["head_sha"], run["head_branch"]) == (commit, "main")
        and run["event"] in ("push", "workflow_dispatch")
    ]
    if not runs:
        raise ReleaseError(f"CI has not run on {commit} of main")
    newest = max(runs, key=lambda run: int(run["run_number"]))
    if newest["status"] != "completed":
        raise ReleaseError(f"CI has not ended on {commit}, it is {newest['status']}: {newest['html_url']}")
    if newest["conclusion"] != "success":
        raise ReleaseError(f"CI ended on {commit} with {newest['conclusion']}: {newest['html_url']}")


def major_tag(version: str) -> str:
    """The tag that workflows name, as in `uses: …@v1`; a release moves it to itself."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is not of the form 1.2.3")
    return f"v{version.partition('.')[0]}"


def images(folder: Path) -> dict[str, str]:
    """The pushed images by kind; each file of the folder holds one name with its digest."""
    found: dict[str, str] = {}
    for kind in KINDS:
        name = (folder / kind).read_text(encoding="utf-8").strip()
        if not _BY_DIGEST.fullmatch(name):
            raise ReleaseError(f"{kind}: {name!r} is not an image with its digest")
        found[kind] = name
    return found


def main(arguments: list[str]) -> int:
    """Run one of these; the exit code."""
    try:
        match arguments:
            case ["ci", commit, file]:
                check_ci(commit, json.loads(Path(file).read_text(encoding="utf-8")))
            case ["check", version, ref]:
                listed = subprocess.run(["git", "tag"], cwd=ROOT, check=True, capture_output=True, text=True)
                check(
                    version,
                    ref,
                    source=(ROOT / "quantize_lib" / "__init__.py").read_text(encoding="utf-8"),
                    changelog=(ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
                    tags=set(listed.stdout.split()),
                )
            case ["major", version]:
                print(major_tag(version))
            case ["images", folder]:
                IMAGES.write_text(json.dumps(images(Path(folder)), indent=2) + "\n", encoding="utf-8")
            case ["notes", version]:
                print(notes(version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), end="")
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
