"""Rows of tables in text: values separated by commas, tabs or semicolons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.encodings import not_utf8
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.rows import cell, no_column
from quantize_lib.errors import CalibrationError

_SEPARATORS = (",", "\t", ";")
_MOST = 1 << 24
"""Characters of one line."""
_LOOKED_AT = 1000
"""Lines that show how a table is written."""


def read_csv(file: OpenedFile) -> Iterator[Document]:
    """The texts of a column of comma-separated values; of what a spreadsheet writes for them elsewhere, too.

    Raises:
        CalibrationError: where it is not such a table, or has no such column.
    """
    return _read(file, ",")


def read_tsv(file: OpenedFile) -> Iterator[Document]:
    """The same of tab-separated values, where a quotation mark may be one.

    Raises:
        CalibrationError: as `read_csv`.
    """
    return _read(file, "\t")


def _read(file: OpenedFile, separator: str) -> Iterator[Document]:
    text = io.TextIOWrapper(file.stream, encoding="utf-8-sig", errors="surrogatepass", newline="")
    try:
        lines = _lines(text, file)
        head = list(islice(lines, _LOOKED_AT))
        separator = _separator(head[:1], file.column, separator)
        # In CSV a value with quotation marks is quoted; in TSV most do not quote at all.
        quoted = separator != "\t" or _is_quoted(head)
        reader = csv.DictReader(
            chain(head, lines),
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        names = reader.fieldnames
        if names is not None and file.column not in names:
            raise no_column(f"{file.path}", file.column, names)
        for row in reader:
            yield from cell(row, file.column, f"{file.path}:{reader.line_num}")
    except UnicodeDecodeError as error:
        raise not_utf8(
            f"{file.path}",
            file,
            error.object,
            error.start,
            offset=file.stream.tell() - len(error.object) + error.start,
            cut=error.reason == "unexpected end of data",
        ) from error
    except csv.Error as error:
        raise CalibrationError(
            f"{file.path} is no valid CSV: {error}", hint="Write the rows as .jsonl."
        ) from error
    finally:
        # The stream is closed by whoever opened it.
        text.detach()


def _lines(text: io.TextIOWrapper, file: OpenedFile) -> Iterator[str]:
    while line := text.readline(_MOST):
        if len(line) == _MOST:
            raise CalibrationError(
                f"{file.path} is no valid CSV: a line of more than {_MOST} characters",
                hint="Write the rows as .jsonl.",
            )
        yield line


def _separator(head: Sequence[str], column: str, usual: str) -> str:
    """What separates the names in the first line so that the column is one of them."""
    for separator in (usual, *_SEPARATORS):
        if column in next(csv.reader(head, delimiter=separator), []):
            return separator
    return usual


def _is_quoted(lines: Sequence[str]) -> bool:
    """Whether quotation marks around values are the table's and not the text's: all of them then fit."""
    reader = csv.reader(lines, delimiter="\t", strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error:
        # What was looked at may end inside a value.
        return reader.line_num == len(lines) == _LOOKED_AT
    return True
