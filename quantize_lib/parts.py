"""Where a checkpoint lies in a repository that holds several, each of which is a part of it.

A GGUF repository holds all types of a model. The weights of each lie at the top, where people and programs
look for them. What else belongs to a checkpoint lies in a folder of the part's name: its report stays true,
and so does a signature of it, whatever is published beside it. The card at the top is that of all parts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from quantize_lib.formats import is_weight_file
from quantize_lib.report.records import RECORD_FILE

T = TypeVar("T")


def place_in(part: str, name: str) -> str:
    """Where a file lies in a repository, as a relative POSIX path.

    Args:
        part: that it belongs to; empty where the repository holds one checkpoint, as it is.
        name: in the checkpoint.
    """
    return name if not part or is_weight_file(name) else f"{part}/{name}"


def placed(part: str, files: Mapping[str, T]) -> dict[str, T]:
    """What is known of a checkpoint's files, by where they lie in a repository."""
    return {place_in(part, name): value for name, value in files.items()}


def parts_in(names: Collection[str], told: Collection[str]) -> tuple[str, ...]:
    """The parts that a repository holds, sorted; none where it holds one checkpoint, as it is.

    Args:
        names: of its files.
        told: the parts that its card names (`card.state`). Without it a folder of other checkpoints, as a run
            leaves them, would look like such a repository.
    """
    return tuple(sorted(part for part in told if place_in(part, RECORD_FILE) in names))
