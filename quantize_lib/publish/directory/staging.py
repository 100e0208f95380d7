"""The new state of a repository in a folder of its own, on the same file system, flushed to the disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.card.keep import kept_sections, with_sections
from quantize_lib.card.shared import Part, shared_card
from quantize_lib.card.state import parts_told
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file, write_text
from quantize_lib.formats import is_weight_file
from quantize_lib.parts import parts_in, place_in
from quantize_lib.report.records import CARD_FILE, RECORD_FILE


def stage(checkpoint: Path, staging: Path, part: str, files: Mapping[str, str]) -> None:
    """Copy a checkpoint's files into a new folder, and check them.

    Args:
        part: which part of the repository it is; empty where the repository is its alone.
        files: hex sha256 by relative POSIX path.

    Raises:
        PublishError: where one changed meanwhile, or `config.json` is none.
        OSError: where one cannot be read or written.
    """
    staging.mkdir(parents=True)
    for name, digest in files.items():
        source, target = checkpoint / name, staging / place_in(part, name)
        _take(source, target)
        if not target.samefile(source) and sha256_file(target) != digest:
            raise PublishError(f"{name} changed while it was copied")
    try:
        config = json.loads((staging / place_in(part, "config.json")).read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{checkpoint / 'config.json'} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise PublishError(f"{checkpoint / 'config.json'} is not a JSON object")
    flush_folders(staging)


def stage_others(present: Path, staging: Path, repository: str, part: str) -> None:
    """Put the other parts of a repository beside one that is staged, and the card of all of them.

    Args:
        present: the repository as it is; it need not be there.
        repository: its name.
        part: that is staged.

    Raises:
        PublishError: where a card cannot be read, or the report of another part, which names its weights.
        OSError: where a file cannot be read or written.
    """
    parts = [Part(name=part, record=read_json(staging / place_in(part, RECORD_FILE)))]
    for name in held_parts(present):
        if name == part:
            continue
        other = Part(name=name, record=_record(present / place_in(name, RECORD_FILE), name))
        for path in _files_of(present, other):
            _take(present / path, staging / path)
        parts.append(other)
    card = shared_card(repository, parts, (staging / place_in(part, CARD_FILE)).read_text(encoding="utf-8"))
    old = present / CARD_FILE
    sections = kept_sections(old.read_text(encoding="utf-8", errors="replace")) if old.is_file() else ()
    write_text(staging / CARD_FILE, with_sections(card, sections))
    flush_folders(staging)


def held_parts(repository: Path) -> tuple[str, ...]:
    """The parts that a repository holds."""
    card = repository / CARD_FILE
    if not card.is_file():
        return ()
    told = parts_told(card.read_text(encoding="utf-8", errors="replace"))
    return parts_in([f"{path.parent.name}/{path.name}" for path in repository.glob(f"*/{RECORD_FILE}")], told)


def flush_folders(folder: Path) -> None:
    """Flush a folder and those in it to the disk."""
    for inside, _, _ in os.walk(folder):
        flush(Path(inside))


def flush(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record(path: Path, part: str) -> dict[str, Any]:
    try:
        record = read_json(path)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise PublishError(
            f"{path} is damaged, and says no more which files are those of {part}",
            hint=f"Publish {part} again first, or remove that folder.",
        )
    return record


def _files_of(repository: Path, part: Part) -> Iterator[str]:
    """The files of a part as they lie, relative to the repository; its report is not asked for paths."""
    for inside, _, names in os.walk(repository / part.name):
        for name in names:
            path = Path(inside) / name
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(repository))
    for name in part.weights:
        if Path(name).name == name and (repository / name).is_file():
            yield name


def _take(source: Path, target: Path) -> None:
    """Bring a file to its place: a large one shares its blocks, where both are on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (is_weight_file(source.name) and _linked(source, target)):
        shutil.copyfile(source, target, follow_symlinks=False)
    flush(target)


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP):
            return False
        raise
    return True
