"""Where checkpoints are published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PublishSpec:
    """Where checkpoints go."""

    to: Literal["directory", "hub"] = "directory"
    path: Path = Path("published")
    """Absolute after parsing; only for `directory`."""
    namespace: str | None = None
    name: str = "{model}-{method}-{bits}bit"
    private: bool = True
    rebuild_on_new_version: bool = False
    """Cells that another version of this tool published are built again."""
    terms_allow_public: bool = False
    """A gated or private base may become an open, public model."""
    tag: bool = False
    """Tag the first publication from each commit of the base."""
    collection: str | None = None
    """A title; `{model}` is the base model's name."""
    pull_request: bool = False
    """Open a pull request instead of committing to the main branch."""
