"""Carries what is built and not published to a later attempt: a runner's disk goes with its job, and the
cache keeps `.state` alone. Standard library only.

So a Hub that did not answer, a time limit or a missed gate costs no second quantizing: the tool takes such a
checkpoint for its own, where it is still what the manifest asks for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.host.output_folder import STATE, UNPUBLISHED


def keep(output: Path, cells: Iterable[Mapping[str, Any]]) -> None:
    """Let `.state` hold the checkpoints that a report's cells have and no repository has; nothing else.

    Those that were not chosen are kept as long as the chosen one is not published: it is compared with them.
    """
    kept = output / STATE / UNPUBLISHED
    shutil.rmtree(kept, ignore_errors=True)
    waiting = [cell for cell in cells if cell["path"] is not None and cell["commit"] is None]
    unfinished = {cell["model"] for cell in waiting if not _is_passed_over(cell)}
    for cell in waiting:
        if not _is_passed_over(cell) or cell["model"] in unfinished:
            shutil.copytree(output / cell["path"], kept / cell["path"], copy_function=_share)


def bring_back(output: Path) -> None:
    """Put them where the tool looks for them; `.state` keeps them until `keep` says otherwise."""
    kept = output / STATE / UNPUBLISHED
    for folder in kept.iterdir() if kept.is_dir() else ():
        if not (output / folder.name).exists():
            shutil.copytree(folder, output / folder.name, copy_function=_share)


def _is_passed_over(cell: Mapping[str, Any]) -> bool:
    return cell["status"] == "skipped" and "not_chosen" in cell


def _share(source: str, target: str) -> None:
    """The same blocks under another name where the file system can: nothing is written into these files."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
