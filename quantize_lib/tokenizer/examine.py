"""Looks at a loaded tokenizer beside what the model has room for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_lib.calibration.windows import check_ends, check_rows, encode, named
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.tokenizer.loading import WAY_OUT, vocabularies
from quantize_lib.tokenizer.readings import PLAIN, difference, ids_of
from quantize_lib.wording import joined, show


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the model has tables for, and what the check after the reload takes of them.

    Attributes:
        rows: of the token embedding.
        positions: of a learned table; None where positions are computed and have no end.
        prompt: what is continued.
        new_tokens: how long.
    """

    rows: int
    positions: int | None
    prompt: str
    new_tokens: int


def examine(tokenizer: Any, folder: Path, room: Room) -> tuple[str, ...]:
    """What a user should know of a tokenizer, a sentence each without a full stop.

    Args:
        tokenizer: as transformers loads it.
        folder: where its files are.

    Raises:
        SourceError: where it gives no tokens, or the prompt needs more than the model has room for.
    """
    if not any(ids_of(tokenizer, text) for text in PLAIN):
        raise _gives_nothing(tokenizer, folder)
    shown = f"the prompt of the check after the reload ({show(room.prompt)})"
    try:
        (prompt,) = encode(tokenizer, [room.prompt], whole=True)
        if not prompt:
            raise SourceError(f"the tokenizer gives no tokens for {shown}", hint=WAY_OUT)
        check_ends(tokenizer, room.rows, prompt)
        check_rows(tokenizer, room.rows, prompt, of=shown)
    except CalibrationError as error:
        raise SourceError(error.message, hint=error.hint) from error
    # The last new token is said, and not read again.
    needed = len(prompt) + room.new_tokens - 1
    if room.positions is not None and needed > room.positions:
        raise SourceError(
            f"the model has {room.positions} positions, and the check after the reload needs {needed}: "
            f"{len(prompt)} for its prompt, the others for {room.new_tokens} new tokens",
            hint="A model with so few positions cannot be checked; name one with more.",
        )
    notes = (difference(tokenizer, folder), _without_rows(tokenizer, room.rows))
    return tuple(note for note in notes if note is not None)


def _gives_nothing(tokenizer: Any, folder: Path) -> SourceError:
    reads = sorted({name for name in tokenizer.vocab_files_names.values() if isinstance(name, str)})
    names = vocabularies(folder)
    found = joined(map(show, names))
    if set(names) & set(reads):
        why = f"what is in {found} has no word for plain text"
    else:
        why = f"transformers' {type(tokenizer).__name__} reads {joined(reads)}, and the model has {found}"
    return SourceError(f"the tokenizer gives no tokens: {why}", hint=WAY_OUT)


def _without_rows(tokenizer: Any, rows: int) -> str | None:
    beyond = sorted(token for token in tokenizer.get_vocab().values() if token >= rows)
    if not beyond:
        return None
    more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
    return (
        f"the tokenizer has the token {named(tokenizer, beyond[0])}{more}, for which the model's embedding "
        f"({rows} rows) has no row: text that holds it fails in the model"
    )
