"""Files of text: whatever their bytes and names are, they are read or refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantize_lib.calibration import json_rows, streams
from quantize_lib.calibration.file_kinds import KINDS
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.errors import CalibrationError
from quantize_lib.text import mend

SUFFIXES = ("", ".bin", ".gz", *(suffix for kind in KINDS for suffix in kind.suffixes))
BEGINNINGS = (
    b"",
    b"\xff\xfe",
    b"\x1f\x8b",
    b"PAR1",
    b"ARROW1\0\0",
    b"\xff\xff\xff\xff",
    b"{",
    b"[",
    b"text\n",
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
ROWS = st.one_of(ANY_TEXT, st.none(), st.fixed_dictionaries({"text": st.one_of(ANY_TEXT, st.none())}))
AGAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(path: Path, data: bytes) -> tuple[str, ...]:
    path.write_bytes(data)
    return tuple(map(str, collect_texts(TextSpec(files=(path,)), token=None).texts))


def wanted(rows: list[Any]) -> tuple[str, ...]:
    texts = (row.get("text") if isinstance(row, dict) else row for row in rows)
    return tuple(mend(text)[0] for text in texts if text and text.strip())


@AGAIN
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=200), st.sampled_from(SUFFIXES), st.booleans())
def test_any_bytes_are_read_as_text_or_refused_with_the_file(
    tmp_path: Path, beginning: bytes, data: bytes, suffix: str, packed: bool
) -> None:
    path = tmp_path / f"c{suffix}"
    data = gzip.compress(beginning + data) if packed else beginning + data
    message = f"{path}"
    try:
        for text in read(path, data):
            text.encode("utf-8")
    except CalibrationError as error:
        message = error.message
    assert str(path) in message or "there is no text in it" in message


@AGAIN
@given(
    st.lists(ROWS, min_size=2).filter(wanted),
    st.sampled_from([None, 1]),
    st.integers(1, 40),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
def test_rows_of_json_are_the_same_in_a_list_and_one_after_the_other_and_in_parts_of_any_size(
    tmp_path: Path, rows: list[Any], indent: int | None, chunk: int, encoding: str, ascii_only: bool
) -> None:
    def write(value: Any) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        patch.setattr(streams, "_CHUNK", chunk)
        for text in (write(rows), write({"data": rows}), "\n".join(map(write, rows))):
            data = text.encode(encoding, "surrogatepass")
            assert read(tmp_path / "c.json", data) == wanted(rows)


@given(ANY_TEXT)
def test_a_mended_text_is_unicode_and_what_was_whole_stays(text: str) -> None:
    mended, count = mend(text)
    mended.encode("utf-8")
    assert mend(mended) == (mended, 0)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert mended == whole
    assert count == whole.count("\ufffd") - text.count("\ufffd")
