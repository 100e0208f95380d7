"""The prompts of a benchmark: a file's, or those that come with the package."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from quantize_lib.benchmark.records import Prompts
from quantize_lib.calibration.file_kinds import KINDS, PLAIN
from quantize_lib.calibration.text_files import read_file
from quantize_lib.errors import CalibrationError, UsageError
from quantize_lib.text import mend

_BUILT_IN = Path(__file__).with_name("prompts.txt")
"""Beginnings of books and speeches that are in the public domain."""
_COLUMN = "text"
_CHARACTERS = 1 << 24
_ROWS = frozenset(suffix for kind in KINDS if kind is not PLAIN for suffix in kind.suffixes)
_HINT = (
    "A prompts file is text with one prompt a line, or rows (.json, .jsonl, .csv) whose prompts are texts or "
    f"stand under {_COLUMN!r}."
)


def read_prompts(
    path: Path | None, *, count: int | None, needed: int, seed: int, note: Callable[[str], None]
) -> Prompts:
    """The prompts in the order in which they are taken.

    Args:
        path: a file of text or rows; None for those that come with the package.
        count: how many are drawn of them; None for `needed`, or all where there are fewer.
        needed: more are never taken.
        seed: of the draw and of the order.
        note: gets a sentence that the user should know.

    Raises:
        UsageError: where there is no such file, no prompt in it, or fewer than were asked for.
    """
    source = "built in" if path is None else str(path)
    texts = [text for text in _texts(_BUILT_IN if path is None else path, note) if text.strip()]
    if not texts:
        raise UsageError(f"--prompts: there is no prompt in {source}", hint=_HINT)
    if count is not None and count > len(texts):
        raise UsageError(
            f"--num-prompts is {count}, and there are {len(texts)} prompts ({source})",
            hint=f"Say --num-prompts {len(texts)} or fewer, or name a file with more.",
        )
    drawn = random.Random(seed).sample(texts, min(needed, len(texts)) if count is None else count)
    return Prompts(source=source, texts=tuple(drawn))


def _texts(path: Path, note: Callable[[str], None]) -> Iterator[str]:
    if not path.is_file():
        raise UsageError(f"--prompts: there is no file {path}")
    whole = _ROWS.isdisjoint(suffix.lower() for suffix in path.suffixes)
    try:
        for document in read_file(path, column=_COLUMN, limit=_CHARACTERS, note=note):
            if not isinstance(document, str):
                raise CalibrationError(f"{document.place}: a conversation is no prompt")
            text, _ = mend(document)
            yield from text.splitlines() if whole else [text]
    except CalibrationError as error:
        raise UsageError(f"--prompts: {error.message}", hint=_HINT) from error
