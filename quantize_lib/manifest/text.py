"""Calibration and evaluation text as the manifest names it, with its files found."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.schema import defaults_of, definition
from quantize_lib.names import absolute, repository_fault
from quantize_lib.wording import SHOWN_PATH, show

MAX_FILES = 10_000
SOURCES = ("dataset", "files", "texts")
_SOURCE_KEYS = (*SOURCES, "config", "split", "column", "revision")

Report = Callable[[KeyPath, str], None]
"""Says that something is wrong at a path."""


def default_calibration() -> dict[str, Any]:
    """The text that is used where the manifest names none."""
    default: dict[str, Any] = definition("defaults")["properties"]["calibration"]["default"]
    return dict(default)


def merge_text(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` before `below`, key by key, but a text source is replaced as a whole."""
    if any(source in above for source in SOURCES):
        below = {key: value for key, value in below.items() if key not in _SOURCE_KEYS}
    return {**below, **above}


def check_text(text: Mapping[str, Any], path: KeyPath, base: Path, report: Report) -> None:
    """Report a data set that cannot be one, and file patterns that match nothing."""
    if "dataset" in text and (fault := repository_fault(text["dataset"])):
        report((*path, "dataset"), f"{show(text['dataset'])} is not the id of a data set: {fault}.")
    for index, pattern in enumerate(text.get("files", ())):
        found = find_files(pattern, base)
        if not found:
            where = show(str(base), limit=SHOWN_PATH)
            report((*path, "files", index), f"no file matches {show(pattern)} in {where}.")
        elif len(found) > MAX_FILES:
            report((*path, "files", index), f"{show(pattern)} matches more than {MAX_FILES} files.")


def text_spec(text: Mapping[str, Any], base: Path) -> TextSpec:
    """A checked text with defaults filled in and files found."""
    values = {**defaults_of("text"), **text}
    files = [file for pattern in values.pop("files", ()) for file in find_files(pattern, base)]
    texts = tuple(values.pop("texts", ()))
    return TextSpec(**values, files=tuple(dict.fromkeys(files)), texts=texts)


def find_files(pattern: str, base: Path) -> list[Path]:
    """The files that a pattern names, absolute and sorted; one more than `MAX_FILES` at most."""
    try:
        # A file may be called `a[1].txt`: what exists as written is meant as written.
        if (written := absolute(pattern, base)).is_file():
            return [written]
        # `base` itself is no pattern, whatever characters it has; Path.glob takes no absolute ones.
        found = glob.iglob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        files = (path for name in found if (path := absolute(name, base)).is_file())
        return sorted(islice(files, MAX_FILES + 1))
    except OSError:
        return []
