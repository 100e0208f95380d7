"""A manifest's bytes: read within limits, decoded, and handed to the YAML reader."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from quantize_lib.manifest.document import Document
from quantize_lib.manifest.problems import InvalidManifestError, Problem
from quantize_lib.manifest.reader import Reader

MAX_BYTES = 1 << 20

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# YAML 1.2, section 5.1, without what a text editor never means.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_document(path: Path) -> Document:
    """Read a manifest.

    Raises:
        InvalidManifestError: where it is missing, not UTF-8, too large, not YAML, or not a mapping.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "Name the manifest, as in `model-quantizer run quantize.yml`."
        raise _stop(name, "no such file", hint=hint) from None
    except IsADirectoryError:
        hint = f"Perhaps you meant {path / 'quantize.yml'}?"
        raise _stop(name, "a folder, not a manifest", hint=hint) from None
    except OSError as error:
        raise _stop(name, f"cannot be read: {error.strerror}") from None
    return parse_document(data, name=name)


def parse_document(data: bytes, *, name: str) -> Document:
    """As `read_document`, from the file's bytes."""
    if len(data) > MAX_BYTES:
        raise _stop(name, f"larger than {MAX_BYTES} bytes; a manifest is a few kilobytes")
    text = _decode(data, name)
    return Reader(name).read(text)


def _stop(
    name: str, message: str, *, line: int = 0, column: int = 0, hint: str | None = None
) -> InvalidManifestError:
    return InvalidManifestError([Problem(place=name, line=line, column=column, message=message)], hint=hint)


def _decode(data: bytes, name: str) -> str:
    if data.startswith(_UTF16):
        raise _stop(name, "encoded as UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _position(before, len(before))
        raise _stop(name, "not UTF-8 here; save the file as UTF-8", line=line, column=column) from None
    if found := _UNPRINTABLE.search(text):
        line, column = _position(text, found.start())
        what = f"the character U+{ord(found[0]):04X} is not allowed in YAML; remove it"
        raise _stop(name, what, line=line, column=column)
    return text


def _position(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
