"""Whether a checkpoint has the files that its report names, and no others that would be loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import PurePosixPath

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.card.keep import without_sections
from quantize_lib.card.state import with_rejected
from quantize_lib.errors import PublishError
from quantize_lib.report.records import CARD_FILE, RECORD_FILE
from quantize_lib.text import plain
from quantize_lib.verification.findings import Finding, failed, ok
from quantize_lib.verification.places import PartPlace, Place

_BESIDE = (RECORD_FILE, ATTESTATION_FILE, ".gitattributes", ".gitignore")
"""What no report names."""
_FOR_PEOPLE = (
    *("*.md", "*.pdf", "*.ipynb", "*.csv", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp"),
    # Evaluation results, which the Hub shows.
    ".eval_results/*.yaml",
    ".eval_results/*.yml",
)
"""What people put into a repository, and nothing that loads a model reads."""
_SHOWN = 20


def check_files(place: Place, recorded: Mapping[str, str]) -> Finding:
    """Compare every file with its recorded digest.

    Args:
        recorded: hex sha256 by relative POSIX path, from the report.
    """
    sizes = place.sizes()
    problems: list[str] = []
    notes: list[str] = []
    for name, digest in sorted(recorded.items()):
        if name not in sizes:
            problems.append(f"{plain(name)} is missing")
        elif sizes[name] < 0:
            problems.append(f"{plain(name)} is no regular file")
        elif place.sha256(name) != digest:
            if name == CARD_FILE and _has_additions_alone(place, digest):
                notes.append(f"{name} is as recorded but for what was added to it on the Hub")
            else:
                problems.append(f"{plain(name)} was changed")
    for name in _further(sizes, recorded):
        if _is_for_people(name):
            notes.append(f"{plain(name)} is not part of it, and nothing loads it")
        else:
            problems.append(f"{plain(name)} is not part of it")
    if problems:
        more = len(problems) - _SHOWN
        shown = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        return failed("files", "; ".join(shown))
    return ok("files", "; ".join([f"{len(recorded)} files are as recorded", *notes[:_SHOWN]]))


def check_beside(place: Place, parts: Iterable[PartPlace]) -> Finding:
    """What lies in a repository of several checkpoints and belongs to none of them."""
    own = {CARD_FILE, *(name for part in parts for name in part.lie())}
    found = list(_further(place.sizes(), own))
    problems = [f"{plain(name)} is not part of any" for name in found if not _is_for_people(name)]
    if problems:
        return failed("files", "; ".join(problems[:_SHOWN]))
    notes = (f"{plain(name)} is not part of any, and nothing loads it" for name in found[:_SHOWN])
    return ok("files", "; ".join(["all belong to one of them", *notes]))


def _further(sizes: Mapping[str, int], recorded: Collection[str]) -> Iterator[str]:
    return (name for name in sorted(sizes) if name not in recorded and name not in _BESIDE)


def _is_for_people(name: str) -> bool:
    return any(
        fnmatchcase(name if "/" in pattern else PurePosixPath(name).name, pattern) for pattern in _FOR_PEOPLE
    )


def _has_additions_alone(place: Place, digest: str) -> bool:
    """Whether a card is the recorded one without its kept sections and its list of what was taken back."""
    try:
        card = place.read(CARD_FILE).decode("utf-8")
        made = with_rejected(without_sections(card), ())
    except (PublishError, ValueError):
        return False
    return sha256(made.encode("utf-8")).hexdigest() == digest
