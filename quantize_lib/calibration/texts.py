"""Collects text from a data set, from files or from the manifest itself, no more of it than is needed."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.calibration.datasets import dataset_commit, read_dataset
from quantize_lib.calibration.rows import cell, no_column
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import CalibrationError

CHARACTERS_PER_TOKEN = 12
"""Far above what a tokenizer makes of prose (3 to 5), so that there is something to choose from."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Collected documents.

    Attributes:
        texts: none of them empty, in the order of their source.
        source: for a person, as in `Salesforce/wikitext (wikitext-2-raw-v1, train)`, `3 files`, `2 texts`.
        dataset: Hub id of the data set; None for files and texts.
        revision: 40-hex commit of the data set; `sha256:…` of the collected documents for files and texts.
    """

    texts: tuple[str, ...]
    source: str
    dataset: str | None
    revision: str


def collect_texts(spec: TextSpec, *, token: str | None, commit: str | None = None) -> Texts:
    """Collect documents until there are about three times as many characters as the tokens asked for need.

    Of files, `.jsonl`, `.csv` and `.parquet` give a document per row (`spec.column`), every other file is one
    document in UTF-8.

    Args:
        spec: where the text comes from and how much is asked for.
        token: for a private or gated data set.
        commit: of a data set, where it is known already; looked up otherwise.

    Raises:
        CalibrationError: where there is no text, or it cannot be read, naming the place.
    """
    limit = spec.samples * spec.sequence_length * CHARACTERS_PER_TOKEN
    if spec.dataset is not None:
        revision = commit or dataset_commit(spec.dataset, spec.revision, token=token)
        rows = read_dataset(spec, spec.dataset, commit=revision, token=token)
        details = ", ".join(part for part in (spec.config, spec.split) if part)
        source = f"{spec.dataset} ({details})"
        texts = tuple(_enough(rows, limit))
    elif spec.files:
        texts = tuple(_enough(_read_files(spec, limit), limit))
        source, revision = _counted(len(spec.files), "file"), _digest(texts)
    else:
        texts = tuple(_enough(spec.texts, limit))
        source, revision = _counted(len(spec.texts), "text"), _digest(texts)
    if not texts:
        raise CalibrationError(f"{source}: there is no text in it", hint="Name a source that holds text.")
    return Texts(texts=texts, source=source, dataset=spec.dataset, revision=revision)


def _enough(texts: Iterable[str], limit: int) -> Iterator[str]:
    """Documents with something in them, cut off where `limit` characters are reached."""
    left = limit
    for text in texts:
        if text.strip():
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _read_files(spec: TextSpec, limit: int) -> Iterator[str]:
    for path in spec.files:
        read = _READERS.get(path.suffix.lower())
        try:
            if read is None:
                yield _read_text(path, limit)
            else:
                yield from read(path, spec.column)
        except OSError as error:
            raise CalibrationError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_text(path: Path, limit: int) -> str:
    # A character has at most four bytes in UTF-8; three more for a byte order mark.
    size = 4 * limit + 3
    with path.open("rb") as file:
        data = file.read(size)
        whole = not file.read(1)
    return _decode(data, path, whole=whole)


def _decode(data: bytes, path: Path, *, whole: bool = True, line: int | None = None) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        place = f"{path}" if line is None else f"{path}:{line}"
        # The offset that Python gives does not count a byte order mark.
        offset = error.start + (3 if data.startswith(codecs.BOM_UTF8) else 0)
        raise CalibrationError(
            f"{place} is not UTF-8: byte 0x{data[offset]:02x} at offset {offset}",
            hint=f"Convert it, as with: iconv -f LATIN1 -t UTF-8 {path.name}",
        ) from error


def _read_json_lines(path: Path, column: str) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(_decode(line, path, line=number))
            except (ValueError, RecursionError) as error:
                raise CalibrationError(
                    f"{path}:{number} is not JSON: {error}", hint="Each line of a .jsonl file is one object."
                ) from error
            if not isinstance(row, dict):
                raise CalibrationError(
                    f"{path}:{number} is no JSON object", hint="Each line of a .jsonl file is one object."
                )
            yield from cell(row, column, f"{path}:{number}")


def _read_csv(path: Path, column: str) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield from cell(row, column, f"{path}:{reader.line_num}")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{path} is not UTF-8", hint=f"iconv -f LATIN1 -t UTF-8 {path.name}"
        ) from error
    except csv.Error as error:
        raise CalibrationError(f"{path} is no valid CSV: {error}") from error


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise no_column(f"{path}", column, names)
            for batch in file.iter_batches(batch_size=256, columns=[column]):
                for row in batch.to_pylist():
                    yield from cell(row, column, f"{path}")
    except pa.ArrowInvalid as error:
        first = (str(error).splitlines() or [""])[0]
        raise CalibrationError(f"{path} is no valid Parquet file: {first}") from error


_READERS: Mapping[str, Callable[[Path, str], Iterator[str]]] = {
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", errors="surrogatepass")
        digest.update(f"{len(data)}\0".encode())
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"
