"""A file that is one document."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from quantize_lib.calibration.encodings import not_utf8
from quantize_lib.calibration.json_rows import is_json
from quantize_lib.calibration.opened import OpenedFile
from quantize_lib.calibration.streams import HEAD


def read_text(file: OpenedFile) -> Iterator[str]:
    """The file's text, as far as it is wanted.

    Raises:
        CalibrationError: where it is not UTF-8, naming the byte.
    """
    # A character has at most four bytes in UTF-8; three more for a byte order mark.
    data = file.stream.read(4 * file.limit + 3)
    whole = not file.stream.read(1)
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")("surrogatepass").decode(data, final=whole)
    except UnicodeDecodeError as error:
        # The offset that Python gives does not count a byte order mark.
        start = error.start + (3 if data.startswith(codecs.BOM_UTF8) else 0)
        cut = whole and error.reason == "unexpected end of data"
        raise not_utf8(f"{file.path}", file, data, start, offset=start, cut=cut) from error
    if is_json(text[:HEAD]):
        file.note(f"{file.path} holds JSON and is one document, as it is called; as .jsonl its rows would be")
    yield text
