"""The texts of a file, whatever it is written and packed in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.encodings import UTF8, encoding_of
from quantize_lib.calibration.file_kinds import kind_of
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.streams import HEAD, PACKINGS, as_utf8, packing_of, unpacked
from quantize_lib.errors import CalibrationError
from quantize_lib.files import is_lfs_pointer


def read_file(path: Path, *, column: str, limit: int, note: Callable[[str], None]) -> Iterator[Document]:
    """The documents of a file, no more of it read than is asked for.

    Args:
        column: where the text of a row is.
        limit: characters that are enough.
        note: as `OpenedFile.note`.

    Raises:
        CalibrationError: where it cannot be read, or is nothing to read text from, saying what it is.
    """
    try:
        with path.open("rb", buffering=0) as raw:
            # Named twice, so that it lives as long as the file is open, whatever is built upon it.
            file: io.BufferedReader = io.BufferedReader(raw, HEAD)
            stream = file
            head = stream.peek(HEAD)
            if is_lfs_pointer(head):
                raise CalibrationError(
                    f"{path} is a Git LFS pointer, not the text itself",
                    hint="Fetch the text with `git lfs pull`; in a workflow check out with `lfs: true`.",
                )
            name = _name(path)
            packing = packing_of(head)
            if packing is not None:
                stream = unpacked(stream, packing, path)
                head = stream.peek(HEAD)
                if packing_of(head):
                    raise CalibrationError(f"{path} is packed twice", hint="Unpack it once, or altogether.")
            encoding = encoding_of(head)
            if encoding != UTF8:
                stream = as_utf8(stream, encoding, path)
                head = stream.peek(HEAD)
            kind = kind_of(name, head, path, packed=packing is not None)
            yield from kind.read(
                OpenedFile(
                    path=path,
                    name=name,
                    unpack="" if packing is None else packing.command,
                    stream=stream,
                    column=column,
                    limit=limit,
                    note=note,
                )
            )
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read: {error.strerror or error}") from error


def _name(path: Path) -> str:
    """What a file is called without the suffix of its packing."""
    name = PurePath(path.name)
    packed = any(name.suffix.lower() in packing.suffixes for packing in PACKINGS)
    return name.stem if packed else name.name
