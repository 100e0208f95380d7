"""What lies where a base model should be, before it is known to be one: names, sizes and small files.

A local folder and a repository on the Hub look alike from here, so that each is told the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.files import is_lfs_pointer, may_be_lfs_pointer
from quantize_lib.source.headers import INDEX, SINGLE, parse_index
from quantize_lib.source.model_files import CARD, CONFIG, is_side_file
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.pickled import PICKLED, PICKLED_INDEX, parse_pickled_index

_MAX_SMALL_BYTES = 10_000_000
_DEPTH = 3
"""Parts of a name that is listed: `snapshots/COMMIT/config.json` in the Hub's cache."""
_MAX_FILES = 10_000


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files that are there.

    Attributes:
        model: as the manifest names it.
        where: the folder, or the repository's id; for messages.
        sizes: bytes by name, relative and with `/`.
        read: gives a whole small file.
        header: gives the tensors of a safetensors file.
    """

    model: ModelSpec
    where: str
    sizes: Mapping[str, int]
    read: Callable[[str], bytes]
    header: Callable[[str], Mapping[str, TensorInfo]]

    @property
    def top(self) -> list[str]:
        """The names that lie in no folder, sorted; what is hidden counts for nothing."""
        return sorted(name for name in self.sizes if "/" not in name and not name.startswith("."))

    def is_pointer(self, name: str) -> bool:
        """Whether a file is a Git LFS pointer; only what has a pointer's size is read."""
        try:
            return may_be_lfs_pointer(self.sizes[name]) and is_lfs_pointer(self.read(name))
        except SourceError:
            # Who uses the file says what is wrong with it.
            return False

    def json(self, name: str) -> dict[str, Any]:
        """A small file's JSON object; nothing where it is missing or something else."""
        if self.sizes.get(name, _MAX_SMALL_BYTES) >= _MAX_SMALL_BYTES:
            return {}
        try:
            value = json.loads(self.read(name).decode("utf-8-sig"))
        except (SourceError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def sizes_in(folder: Path) -> dict[str, int]:
    """The files of a folder and of the folders in it with their sizes, as far as they can be looked at."""
    sizes: dict[str, int] = {}
    pending = [folder]
    while pending and len(sizes) < _MAX_FILES:
        try:
            found = sorted(pending.pop(0).iterdir())
        except OSError:
            continue
        for path in found:
            name = path.relative_to(folder)
            try:
                if path.is_file():
                    sizes[name.as_posix()] = path.stat().st_size
                elif (
                    path.is_dir()
                    and len(name.parts) < _DEPTH
                    and not (path.is_symlink() or path.name.startswith("."))
                ):
                    pending.append(path)
            except OSError:
                continue
    return sizes


def check_pointers(listing: Listing) -> None:
    """Refuse Git LFS pointers in the place of files that are used or travel.

    Raises:
        SourceError: naming them, and how the files themselves are got.
    """
    used = {CONFIG, CARD, *_weights(listing)}
    code = listing.model.trust_remote_code
    pointers = [
        name
        for name in sorted(listing.sizes)
        if (name in used or is_side_file(name, code=code)) and listing.is_pointer(name)
    ]
    if not pointers:
        return
    more = f" (and {len(pointers) - 1} more)" if len(pointers) > 1 else ""
    raise SourceError(
        f"{listing.model.id}: {pointers[0]}{more} is a Git LFS pointer, not the file itself",
        hint=f"Run `git lfs pull` in {listing.where}."
        if listing.model.local is not None
        else "The repository itself holds it so; choose another revision, or ask its owner for the file.",
    )


def _weights(listing: Listing) -> set[str]:
    """The files that weights are read from, with their index; where that is a pointer, all it may name."""
    sets: list[tuple[str, str, Callable[[bytes], Mapping[str, str]], str]] = [
        (SINGLE, INDEX, parse_index, ".safetensors")
    ]
    if listing.model.allow_pickle:
        sets.append((PICKLED, PICKLED_INDEX, parse_pickled_index, ".bin"))
    for single, index, parse, ending in sets:
        if single in listing.sizes:
            return {single}
        if index not in listing.sizes:
            continue
        if listing.is_pointer(index):
            return {index, *(name for name in listing.top if name.endswith(ending))}
        return {index, *parse(listing.read(index)).values()}
    return set()
