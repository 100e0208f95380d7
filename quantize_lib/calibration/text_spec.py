"""Where calibration and evaluation text comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """Where calibration or evaluation text comes from: one of data set, files or texts."""

    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str = "main"
    files: tuple[Path, ...] = ()
    """Absolute paths, globs already expanded, sorted within each pattern."""
    texts: tuple[str, ...] = ()
    samples: int = 128
    sequence_length: int = 512
    seed: int = 0
    allow_short: bool = False
    """Too little text is a warning rather than an error (the guide's form)."""
