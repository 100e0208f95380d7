"""The text or the conversation in one row of a table, and in one value of a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from quantize_lib.calibration.conversations import Document, is_conversation, read_conversation
from quantize_lib.errors import CalibrationError

_LIST = "data"
"""The key of an object's rows where it has several lists."""


def cell(row: Mapping[str, object], column: str, place: str) -> Iterator[Document]:
    """The text or the conversation of one row; a null and an empty list give none.

    Args:
        row: values by column.
        column: where the text is.
        place: for messages.

    Raises:
        CalibrationError: where there is no such column, or it holds neither text nor a conversation.
    """
    if column not in row:
        raise no_column(place, column, list(row))
    value = row[column]
    if value is None or value == []:
        return
    if isinstance(value, str):
        yield value
        return
    if not isinstance(value, list) or not isinstance(value[0], Mapping):
        raise CalibrationError(
            f"{place}: column {column!r} holds {type(value).__name__}, not text",
            hint="Name a column of texts, or of conversations, with `column:`.",
        )
    yield read_conversation(value, f"{place}: column {column!r}")


def entry(value: object, column: str, place: str, *, word: str) -> Iterator[Document]:
    """The document of one entry of a list: a row, or the text or conversation itself.

    Args:
        value: what JSON or YAML has there; a null gives none.
        column, place: as for `cell`.
        word: what the file's language calls a row: `JSON object`.

    Raises:
        CalibrationError: as `cell`, and where it is neither.
    """
    if isinstance(value, Mapping):
        yield from cell(value, column, place)
    elif isinstance(value, str):
        yield value
    elif is_conversation(value):
        yield read_conversation(value, place.removesuffix(","))
    elif value is not None:
        raise CalibrationError(
            f"{place} is no {word} and no text",
            hint=f"Each row is a text, or has its text under a key that `column:` names ({column!r} now).",
        )


def document(value: object, column: str, place: str, *, word: str) -> Iterator[Document]:
    """The documents of a file that is one value: a list of rows, one row, or an object that holds the rows.

    Args:
        value: what JSON or YAML has there.
        column, place, word: as for `entry`.

    Raises:
        CalibrationError: as `entry`, and for an object whose rows cannot be told.
    """
    found: Any = value
    if isinstance(value, Mapping):
        lists = {key: item for key, item in value.items() if isinstance(item, list)}
        if is_conversation(value.get(column)):
            # A file of one row.
            yield from cell(value, column, place)
            return
        if column in value:
            # A whole column: a list, or as pandas writes it, texts by their index.
            whole = value[column]
            found = list(whole.values()) if isinstance(whole, Mapping) else lists.get(column)
        elif _LIST in lists or len(lists) == 1:
            found = lists.get(_LIST) or next(iter(lists.values()))
        else:
            raise no_column(place, column, list(value))
    if not isinstance(found, list):
        yield from entry(value, column, place, word=word)
        return
    for number, item in enumerate(found, start=1):
        yield from entry(item, column, f"{place}, row {number},", word=word)


def no_column(place: str, column: str, names: Iterable[object]) -> CalibrationError:
    """The error for a column that is not there, which names those that are."""
    found = ", ".join(f"{name!r:.60}" for name in islice(names, 20))
    return CalibrationError(f"{place} has no column {column!r}", hint=f"Columns: {found}.")
