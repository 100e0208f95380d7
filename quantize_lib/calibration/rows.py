"""The text in one row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from quantize_lib.errors import CalibrationError


def cell(row: Mapping[str, object], column: str, place: str) -> Iterator[str]:
    """The text of one row; a null gives none.

    Args:
        row: values by column.
        column: where the text is.
        place: for messages.

    Raises:
        CalibrationError: where there is no such column, or it holds something else than text.
    """
    if column not in row:
        raise no_column(place, column, list(row))
    value = row[column]
    if value is None:
        return
    if not isinstance(value, str):
        raise CalibrationError(
            f"{place}: column {column!r} holds {type(value).__name__}, not text",
            hint="Name a column of texts with `column:`.",
        )
    yield value


def no_column(place: str, column: str, names: Iterable[object]) -> CalibrationError:
    """The error for a column that is not there, which names those that are."""
    found = ", ".join(repr(name) for name in islice(names, 20))
    return CalibrationError(f"{place} has no column {column!r}", hint=f"Columns: {found}.")
