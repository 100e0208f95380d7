"""Which encoding a text is in, as far as its bytes say, and what to do about one that they do not say."""

from __future__ import annotations

import codecs
import re
import shlex
import unicodedata
from pathlib import PurePath

from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.errors import CalibrationError
from quantize_lib.wording import show

UTF8 = "utf-8"
_MARKS = (
    # UTF-16's mark is how this one begins.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_SLIPPED_IN, _MOST_CONTROLS = 3, 0.01
_UNWRITTEN = ("Cc", "Cn", "Co", "Cs")
_WHITE = "\t\n\r\f"
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""What Windows-1252 has no character for."""
_MOST_ACCENTS = 0.4
_SHOWN = 24
"""Bytes on each side of the one that is wrong."""


def encoding_of(head: bytes) -> str:
    """The codec for a file that begins so; `UTF8` also where that remains to be seen."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark, UTF-16 is known by the other half of spaces and line ends; UTF-8 has no zeros.
    if b"\0" in head:
        read = {codec: text for codec in ("utf-16-le", "utf-16-be") if (text := _read_as(head, codec))}
        if read:
            # ASCII the wrong way round is Chinese.
            return max(read, key=lambda codec: sum(char < "\u0250" for char in read[codec]))
    return UTF8


def is_binary(head: bytes) -> bool:
    """Whether a file that begins so is no text: more control characters than slip in."""
    return len(_CONTROLS.findall(head)) > _SLIPPED_IN + _MOST_CONTROLS * len(head)


def halves(place: str, count: int) -> str:
    """What the user is told of halves that were mended."""
    stands = "half of a character stands" if count == 1 else f"{count} halves of characters stand"
    return f"{place}: {stands} in it (a lone surrogate, as where a text is cut), read as U+FFFD"


def not_utf8(
    place: str, file: OpenedFile, data: bytes, start: int, *, offset: int, cut: bool
) -> CalibrationError:
    """The error for a byte that does not belong into UTF-8.

    Args:
        place: for the message.
        data: what it stands among.
        start: its index there.
        offset: where it is, for the message.
        cut: the file ends inside a character.
    """
    if cut:
        hint = "It ends inside a character, so it was cut off: fetch it again."
    elif _mostly_utf8(data):
        hint = (
            "The rest of it is UTF-8, so it is damaged there. To leave out what is no text: "
            f"{_command(file, 'iconv -c -f UTF-8 -t UTF-8')}"
        )
    elif _perhaps_western(data):
        hint = (
            "Its bytes do not say which encoding it is in. If this reads right: "
            f"{show(_around(data, start).decode('cp1252'))}, it is Windows-1252 (Latin-1); then convert it: "
            f"{_command(file, 'iconv -f WINDOWS-1252 -t UTF-8')}"
        )
    else:
        hint = (
            "Its bytes do not say which encoding it is in. Convert it from the one that it was saved in: "
            f"{_command(file, 'iconv -f ENCODING -t UTF-8')}"
        )
    return CalibrationError(f"{place} is not UTF-8: byte 0x{data[start]:02x} at offset {offset}", hint=hint)


def _command(file: OpenedFile, convert: str) -> str:
    inner, name = PurePath(file.name), file.path.name
    # Never an option, whatever it begins with.
    name = shlex.quote(f"./{name}" if name.startswith("-") else name)
    words = f"{file.unpack} {name} | {convert}" if file.unpack else f"{convert} {name}"
    return f"{words} > {shlex.quote(f'{inner.stem}-utf8{inner.suffix}')}"


def _around(data: bytes, start: int) -> bytes:
    """What stands on both sides in the same line."""
    before = data[max(0, start - _SHOWN) : start].rpartition(b"\n")[2]
    return (before + data[start : start + _SHOWN].partition(b"\n")[0]).strip()


def _read_as(head: bytes, codec: str) -> str:
    """The text in UTF-16, or nothing where it would hold what nobody writes."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeDecodeError:
        return ""
    written = all(char in _WHITE or unicodedata.category(char) not in _UNWRITTEN for char in text)
    return text if written else ""


def _mostly_utf8(data: bytes) -> bool:
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(char > "\x7f" for char in text) - wrong > wrong


def _perhaps_western(data: bytes) -> bool:
    high = [byte for byte in data if byte > 0x7F]
    letters = sum(chr(byte).isalpha() for byte in data if byte <= 0x7F)
    return not _UNDEFINED & set(high) and len(high) <= _MOST_ACCENTS * (letters + len(high))
