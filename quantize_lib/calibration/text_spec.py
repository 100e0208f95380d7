"""Where calibration and evaluation text comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """Where calibration or evaluation text comes from: one of data set, files, texts, a mix of them, or the
    package's own conversations."""

    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str = "main"
    files: tuple[Path, ...] = ()
    """Absolute paths, globs already expanded, sorted within each pattern."""
    texts: tuple[str, ...] = ()
    chat_template_kwargs: tuple[tuple[str, Any], ...] = ()
    """Variables of the chat template that writes conversations as text, sorted by name; scalars."""
    mix: tuple[TextSpec, ...] = ()
    """Sources that share `samples`, each with its own part of them."""
    samples: int = 128
    sequence_length: int = 512
    seed: int = 0
    allow_short: bool = False
    """Too little text is a warning rather than an error (the guide's form)."""
    built_in: bool = False
    """The conversations that come with the package, in place of a source."""
    optional: bool = False
    """A text that does not fit the model's tokenizer is left out rather than an error."""

    @property
    def sources(self) -> tuple[TextSpec, ...]:
        """What is read: the sources of a mix, else the text itself."""
        return self.mix or (self,)
