"""Rows of JSON: one after the other, in a list, or in an object that holds the list.

Read value by value, so that of a large file no more is in memory than one row.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.encodings import not_utf8
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.rows import document, entry
from quantize_lib.errors import CalibrationError

_CHUNK = 1 << 16
_MOST = 1 << 26
"""Characters of one value."""
_WHITE = re.compile("[ \t\r\n\ufeff]*")
"""With a byte order mark, which stands in the middle where files were joined."""
_TAIL = 16
"""An error this near the end of what was read may come from the end."""
_DECODER = json.JSONDecoder()
_HINT = "Each line of a .jsonl file is one object or one text; a .json file may also be one list of them."
_WORD = "JSON object"


def read_json(file: OpenedFile) -> Iterator[Document]:
    """The texts of a file's rows.

    Raises:
        CalibrationError: where it is not JSON, or a row has no text, naming the line.
    """
    values = _Values(file)
    if values.peek() == "[":
        yield from _list(values, file)
        return
    first = values.take() if values.peek() else None
    place = f"{file.path}:{values.began}"
    if not values.peek():
        yield from document(first, file.column, place, word=_WORD)
        return
    yield from entry(first, file.column, place, word=_WORD)
    while values.peek():
        value = values.take()
        yield from entry(value, file.column, f"{file.path}:{values.began}", word=_WORD)


def is_json(head: str) -> bool:
    """Whether a text that begins so is rows of JSON, as far as can be seen: an object, or a list of rows."""
    start = _WHITE.match(head)
    text = head[start.end() if start else 0 :]
    if not text.startswith(("{", "[")):
        return False
    inner = text if text[0] == "{" else text[1:].lstrip()
    if not inner.startswith(("{", '"')):
        return False
    try:
        _, end = _DECODER.raw_decode(inner)
    except (ValueError, RecursionError):
        # A first row that is longer than what was looked at.
        return len(head) > _CHUNK // 8 and re.match(r'\{\s*"[^"\n]{1,100}"\s*:', inner) is not None
    return text[0] == "{" or inner[end:].lstrip()[:1] in (",", "]")


def _list(values: _Values, file: OpenedFile) -> Iterator[Document]:
    values.skip()
    number = 0
    while values.peek() != "]":
        if number:
            values.expect(",")
        number += 1
        value = values.take()
        yield from entry(value, file.column, f"{file.path}:{values.began}", word=_WORD)
    values.skip()
    if values.peek():
        raise values.error("something follows the end of the list")


class _Values:
    """One JSON value after another.

    Attributes:
        began: the line that the last one began in.
    """

    def __init__(self, file: OpenedFile) -> None:
        self._file = file
        self._bytes = b""
        """Read and not decoded yet."""
        self._before = b""
        """What was decoded last, for messages."""
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False
        self._lines = 0
        self._offset = 0
        """Where the next undecoded byte stands: line ends before it, and bytes of its line."""
        self.began = 1

    def peek(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while True:
            found = _WHITE.match(self._text, self._at)
            self._move(found.end() if found else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill(_CHUNK):
                return ""

    def skip(self) -> None:
        """Pass over the character that `peek` gave."""
        self._move(self._at + 1)

    def expect(self, char: str) -> None:
        """Pass over a character that has to be there."""
        if self.peek() != char:
            raise self.error(f"there is no {char!r}" if self._text[self._at :] else "it ends there")
        self.skip()

    def take(self) -> Any:
        """The next value."""
        self.peek()
        self.began = self._line
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # What ends inside a string is told at its beginning.
                inside = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _TAIL
                held = len(self._text) - self._at
                if not inside or not self._fill(max(_CHUNK, held)):
                    raise self.error(error.msg) from error
                if held > _MOST:
                    raise self.error(f"one value of more than {_MOST} characters") from error
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from error
            else:
                self._move(end)
                return value

    def error(self, why: str) -> CalibrationError:
        """The error for what is not JSON, in the line where the value begins."""
        return CalibrationError(f"{self._file.path}:{self._line} is not JSON: {why}", hint=_HINT)

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self, size: int) -> bool:
        """Read on; false at the end."""
        text = ""
        while not text and not self._ended:
            chunk = self._file.stream.read(size)
            self._bytes += chunk
            text = self._decode(final=not chunk)
            self._ended = not chunk and not self._bytes
        self._text = self._text[self._at :] + text
        self._at = 0
        return bool(text)

    def _decode(self, *, final: bool) -> str:
        """What is text of the bytes that were read; what is not stays until its turn comes."""
        data = self._bytes
        try:
            text, used = codecs.utf_8_decode(data, "surrogatepass", final)
        except UnicodeDecodeError as error:
            text, used = codecs.utf_8_decode(data[: error.start], "surrogatepass", True)
            # Three bytes may be the beginning of half a pair.
            if used == 0 and (final or len(data) > 3):
                raise not_utf8(
                    f"{self._file.path}:{self._lines + 1}",
                    self._file,
                    self._before + data,
                    len(self._before),
                    offset=self._offset,
                    cut=final and error.reason == "unexpected end of data",
                ) from error
        done, self._bytes = data[:used], data[used:]
        self._before = (self._before + done)[-_CHUNK:]
        lines = done.count(b"\n")
        self._lines += lines
        self._offset = len(done) - done.rfind(b"\n") - 1 + (0 if lines else self._offset)
        return text
