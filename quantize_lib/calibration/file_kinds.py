"""What files of text there are, how each is recognised, and which are refused by what they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from quantize_lib.calibration.arrow_rows import ARROW_FILE, read_arrow, read_parquet
from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.encodings import is_binary
from quantize_lib.calibration.json_rows import is_json, read_json
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.plain_text import read_text
from quantize_lib.calibration.table_rows import read_csv, read_tsv
from quantize_lib.calibration.yaml_rows import read_yaml
from quantize_lib.errors import CalibrationError


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """Files that are read in one way.

    Attributes:
        suffixes: of their names, in any case.
        documents: what the documents are, for the manual.
        read: their texts.
        pattern: what they begin with, whatever they are called; None where only the name tells.
        whole: read from the disk in any order, so not inside a packed file.
    """

    suffixes: tuple[str, ...]
    documents: str
    read: Callable[[OpenedFile], Iterator[Document]]
    pattern: re.Pattern[bytes] | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class _Refused:
    what: str
    pattern: re.Pattern[bytes]
    hint: str
    suffixes: tuple[str, ...] = ()


PLAIN = FileKind(suffixes=(".txt", ".text", ".md", ".rst"), documents="one for each file", read=read_text)
JSON = FileKind(
    suffixes=(".jsonl", ".ndjson", ".json"),
    documents="one for each row: an object (`column`), a text or a conversation, one after the other, in a "
    "list, or in an object's `data`, its only list or its column",
    read=read_json,
)
KINDS = (
    JSON,
    FileKind(
        suffixes=(".csv", ".tsv"),
        documents="one for each row (`column`, named in the first line)",
        read=lambda file: read_tsv(file) if file.name.lower().endswith(".tsv") else read_csv(file),
    ),
    FileKind(
        suffixes=(".parquet",),
        documents="one for each row (`column`)",
        read=read_parquet,
        pattern=re.compile(rb"PAR1"),
        whole=True,
    ),
    FileKind(
        suffixes=(".arrow", ".feather"),
        documents="one for each row (`column`)",
        read=read_arrow,
        # A file, and a stream: the mark of a message, and its length.
        pattern=re.compile(re.escape(ARROW_FILE) + rb"|\xff\xff\xff\xff..[\0-\x0f]\0", re.DOTALL),
        whole=True,
    ),
    FileKind(
        suffixes=(".yaml", ".yml"),
        documents="one for each entry of a list: a mapping (`column`) or a text",
        read=read_yaml,
    ),
    PLAIN,
)
_AS_TEXT = "Save its text as plain text in UTF-8 (.txt), or as rows (.jsonl), and name that file."
_UNPACK = "Unpack it, and name the files of text that are in it."
_REFUSED = (
    _Refused(
        what="a zip archive, as documents of Word, Excel and LibreOffice and EPUB books are",
        pattern=re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
        hint=f"{_UNPACK} Of a document save the text as plain text in UTF-8 (.txt).",
    ),
    _Refused(
        what="an archive",
        pattern=re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar", re.DOTALL),
        hint=_UNPACK,
    ),
    _Refused(
        what="a packed file of another kind than is read (gzip, bzip2, xz and zstd are)",
        pattern=re.compile(rb"\x04\x22\x4d\x18|\x1f[\x9d\xa0]|\xff\x06\0\0sNaPpY|LZIP\x01"),
        hint="Unpack it, and name what was in it.",
    ),
    _Refused(what="a PDF document", pattern=re.compile(rb"\s*%PDF-"), hint=_AS_TEXT),
    _Refused(
        what="a document of Microsoft Office",
        pattern=re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        hint=_AS_TEXT,
    ),
    _Refused(what="an RTF document", pattern=re.compile(rb"\{\\rtf"), hint=_AS_TEXT),
    _Refused(
        what="HTML or XML, whose markup would count as text",
        # Possessive, so that no row of comments is tried in every way.
        pattern=re.compile(
            rb"(?:\xef\xbb\xbf)?\s*+(?><!--.*?-->\s*+)*+<(?:!doctype\s+html|html[\s>]|\?xml\s)",
            re.IGNORECASE | re.DOTALL,
        ),
        suffixes=(".html", ".htm", ".xhtml", ".xml"),
        hint=_AS_TEXT,
    ),
    _Refused(
        what="a pickle, which is a program that would have to be run",
        # From protocol 2 on, and the oldest, which is letters.
        pattern=re.compile(
            rb"\x80[\x02-\x05](?:\x95|[\]\}\)(cX\x8c])|\((?:lp|dp)\d*\r?\n|c[\w.]+\n[\w.]+\n[p(]"
        ),
        suffixes=(".pkl", ".pickle"),
        hint=f"Load it where you trust it. {_AS_TEXT}",
    ),
)


def kind_of(name: str, head: bytes, path: Path, *, packed: bool) -> FileKind:
    """How a file is read.

    Args:
        name: what it is called, without the suffix of its packing.
        head: what it begins with, in UTF-8 where it is text.
        path: for messages.
        packed: it is inside a packed file.

    Raises:
        CalibrationError: where it is nothing that text can be read from, saying what it is.
    """
    suffix = PurePath(name).suffix.lower()
    for refused in _REFUSED:
        if refused.pattern.match(head) or (head and suffix in refused.suffixes):
            raise CalibrationError(f"{path} is {refused.what}", hint=refused.hint)
    named = next((kind for kind in KINDS if suffix in kind.suffixes), None)
    kind = next((kind for kind in KINDS if kind.pattern and kind.pattern.match(head)), named)
    if kind is not None and kind.whole:
        if packed:
            raise CalibrationError(
                f"{path} is a packed {kind.suffixes[0]} file, which is read in any order", hint="Unpack it."
            )
        return kind
    if is_binary(head):
        raise CalibrationError(f"{path} is binary, not text", hint=_AS_TEXT)
    if kind is None:
        return JSON if is_json(_text(head)) else PLAIN
    return kind


def _text(head: bytes) -> str:
    return head.decode("utf-8", "replace")
