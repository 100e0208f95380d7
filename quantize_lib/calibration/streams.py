"""Files as streams of UTF-8, whatever they are packed or written in: bounded, and no more than is read."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from quantize_lib.errors import CalibrationError

HEAD = 1 << 16
"""Bytes at the beginning of a file by which it is recognised."""
_CHUNK = 1 << 16
_UNPACKED = 1 << 26
_RATIO = 100
"""Text packs to a third or a tenth of its size. What unpacks to more than this is made to fill memory."""


class Readable(Protocol):
    """What unpacks."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """One way to pack a file.

    Attributes:
        title: for messages and documents.
        suffixes: of names; they are left out where the name is to say what is inside.
        pattern: what a packed file begins with.
        unpack: reads a packed file.
        command: does the same in a shell, to standard output.
    """

    title: str
    suffixes: tuple[str, ...]
    pattern: re.Pattern[bytes]
    unpack: Callable[[io.BufferedReader], Readable]
    command: str


def _gzip(file: io.BufferedReader) -> Readable:
    return gzip.GzipFile(fileobj=file)


def _zstd(file: io.BufferedReader) -> Readable:
    # Python has it from 3.14 on.
    import pyarrow as pa

    stream: Readable = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    return stream


PACKINGS = (
    Packing(
        title="gzip", suffixes=(".gz",), pattern=re.compile(rb"\x1f\x8b"), unpack=_gzip, command="gzip -dc"
    ),
    Packing(
        title="bzip2",
        suffixes=(".bz2",),
        pattern=re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
        unpack=bz2.BZ2File,
        command="bzip2 -dc",
    ),
    Packing(
        title="xz",
        suffixes=(".xz", ".lzma"),
        # The older form has no mark: usual settings, and a size that is not told.
        pattern=re.compile(rb"\xfd7zXZ\0|\x5d\0\0.{2}\xff{8}", re.DOTALL),
        unpack=lzma.LZMAFile,
        command="xz -dc",
    ),
    Packing(
        title="zstd",
        suffixes=(".zst",),
        pattern=re.compile(rb"\x28\xb5\x2f\xfd"),
        unpack=_zstd,
        command="zstd -dc",
    ),
)


def packing_of(head: bytes) -> Packing | None:
    """How a file is packed that begins so; None where it is not."""
    return next((packing for packing in PACKINGS if packing.pattern.match(head)), None)


def unpacked(file: io.BufferedReader, packing: Packing, path: Path) -> io.BufferedReader:
    """What is inside a packed file.

    Args:
        path: for messages.

    Raises:
        CalibrationError: while it is read, where it is damaged, or made to fill memory.
    """
    return io.BufferedReader(_Chunks(_unpack(file, packing, path)), HEAD)


def as_utf8(stream: io.BufferedReader, encoding: str, path: Path) -> io.BufferedReader:
    """The same text in UTF-8; half of a surrogate pair stays what it is.

    Args:
        encoding: a codec of Python: `utf-16` and its like.
        path: for messages.

    Raises:
        CalibrationError: while it is read, where it is not in this encoding.
    """
    return io.BufferedReader(_Chunks(_transcode(stream, encoding, path)), HEAD)


class _Chunks(io.RawIOBase):
    """A stream of what an iterator gives; the first empty chunk ends it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""
        self._given = 0

    def tell(self) -> int:
        return self._given

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        # As full as can be, as what is looked at is what the first reading gives.
        while filled < len(view):
            self._rest = self._rest or next(self._chunks, b"")
            if not self._rest:
                break
            part, self._rest = self._rest[: len(view) - filled], self._rest[len(view) - filled :]
            view[filled : filled + len(part)] = part
            filled += len(part)
        self._given += filled
        return filled


def _unpack(file: io.BufferedReader, packing: Packing, path: Path) -> Iterator[bytes]:
    total = 0
    try:
        stream = packing.unpack(file)
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if total > _UNPACKED and file.seekable() and total > _RATIO * file.tell():
                raise CalibrationError(
                    f"{path} unpacks to more than {_RATIO} times its size, which no text does",
                    hint="Where it is text all the same, unpack it and name the file.",
                )
            yield chunk
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise CalibrationError(
            f"{path} is a damaged {packing.title} file: {error}", hint="Fetch it, or pack it, again."
        ) from error


def _transcode(stream: io.BufferedReader, encoding: str, path: Path) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        while chunk := stream.read(_CHUNK):
            if text := decoder.decode(chunk):
                yield text.encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{path} begins as {encoding.upper()} and is not: {error.reason}",
            hint="It was cut off or mixes encodings; save it as UTF-8.",
        ) from error
