"""Rows of YAML: a list of texts or of mappings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.encodings import UTF8, halves, not_utf8
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.rows import document, entry
from quantize_lib.errors import CalibrationError
from quantize_lib.text import format_bytes, mend

_MOST = 1 << 23
"""Bytes. YAML is read as a whole, and one of short values takes a hundred times its size."""
_WORD = "YAML mapping"
_NULL = "tag:yaml.org,2002:null"
_ESCAPE_FAULT = "found invalid Unicode character escape code"
"""libyaml's words for half of a surrogate pair, as JSON escapes a character beyond U+FFFF by two."""


class _Slow(yaml.BaseLoader):
    """Makes texts, and lists and mappings of texts: `no`, `1.0` and dates are what was written."""


class _Fast(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """The same by libyaml."""


for _loader in (_Slow, _Fast):
    _loader.add_implicit_resolver(_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
    _loader.add_constructor(_NULL, lambda *_: None)


def read_yaml(file: OpenedFile) -> Iterator[Document]:
    """The texts of a file's rows; what is written without quotes is text as it stands.

    Raises:
        CalibrationError: where it is not YAML, is too large, or a row has no text.
    """
    data = file.stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise CalibrationError(
            f"{file.path} is YAML of more than {format_bytes(_MOST)}", hint="Write the rows as .jsonl."
        )
    try:
        text = data.decode(UTF8, "surrogatepass")
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        raise not_utf8(f"{file.path}", file, data, error.start, offset=error.start, cut=cut) from error
    text, alone = mend(text)
    if alone:
        file.note(halves(f"{file.path}", alone))
    first, *others = _load(text, file) or [None]
    if not others:
        yield from document(first, file.column, f"{file.path}", word=_WORD)
        return
    for number, value in enumerate([first, *others], start=1):
        yield from entry(value, file.column, f"{file.path}, document {number},", word=_WORD)


def _load(text: str, file: OpenedFile, loader: type[yaml.BaseLoader] = _Fast) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join((getattr(error, "problem", None) or str(error)).split())
        if why == _ESCAPE_FAULT and loader is _Fast:
            return _load(text, file, _Slow)
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = f"{file.path}:{mark.line + 1}" if mark else f"{file.path}"
        raise CalibrationError(
            f"{place} is not YAML: {why}", hint="A .yaml file is a list of texts or of mappings."
        ) from error
