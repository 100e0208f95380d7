"""Rows of Parquet and Arrow files, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.rows import cell, no_column
from quantize_lib.errors import CalibrationError

ARROW_FILE = b"ARROW1\0\0"
_ROWS = 256


def read_parquet(file: OpenedFile) -> Iterator[Document]:
    """The texts of a Parquet file's column.

    Raises:
        CalibrationError: where it is no such file, or has no such column.
    """
    return _read(file, "Parquet", _parquet)


def read_arrow(file: OpenedFile) -> Iterator[Document]:
    """The same of an Arrow (or Feather) file, or of a stream as `datasets` keeps it.

    Raises:
        CalibrationError: as `read_parquet`.
    """
    return _read(file, "Arrow", _arrow)


def _read(file: OpenedFile, title: str, batches: Callable[[OpenedFile], Iterator[Any]]) -> Iterator[Document]:
    import pyarrow as pa

    found = batches(file)
    while True:
        try:
            column = next(found, None)
            values = None if column is None else _values(column)
        except (pa.ArrowException, OSError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise CalibrationError(
                f"{file.path} is no valid {title} file: {first}", hint="Fetch it, or write it, again."
            ) from error
        except UnicodeDecodeError as error:
            raise CalibrationError(
                f"{file.path}: column {file.column!r} holds bytes that are no UTF-8: {error.reason}",
                hint="Write it again, with text in that column.",
            ) from error
        if values is None:
            return
        for value in values:
            yield from cell({file.column: value}, file.column, f"{file.path}")


def _parquet(file: OpenedFile) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file.path) as table:
        names = table.schema_arrow.names
        if file.column not in names:
            raise no_column(f"{file.path}", file.column, names)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[file.column]):
            yield batch.column(0)


def _arrow(file: OpenedFile) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(file.path)) as source:
        if source.read(len(ARROW_FILE)) == ARROW_FILE:
            table = pa.ipc.open_file(source)
            found = (table.get_batch(index) for index in range(table.num_record_batches))
        else:
            source.seek(0)
            table = pa.ipc.open_stream(source)
            found = iter(table)
        if file.column not in table.schema.names:
            raise no_column(f"{file.path}", file.column, table.schema.names)
        for batch in found:
            column = batch.column(file.column)
            for start in range(0, len(column), _ROWS):
                yield column.slice(start, _ROWS)


def _values(column: Any) -> list[Any]:
    """Python's values; half of a surrogate pair stays what it is."""
    import pyarrow as pa

    try:
        found: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        data = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
        return [value if value is None else value.decode("utf-8", "surrogatepass") for value in data]
    return found
