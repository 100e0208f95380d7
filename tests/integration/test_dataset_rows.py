"""Data sets as `datasets` reads them: whatever is wrong with one is an error that names it, and no other."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts, collect_texts
from quantize_lib.errors import CalibrationError

COMMIT = "0" * 40
PARQUET = b"PAR1 and nothing more"


def collect(folder: Path, files: Mapping[str, bytes]) -> Texts:
    """The texts of a data set of these files; a folder stands for the Hub."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return collect_texts(TextSpec(dataset=str(folder)), token=None, commit=COMMIT)


def rows(*texts: object) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def test_rows_are_texts_and_nulls_are_none(tmp_path: Path) -> None:
    assert collect(tmp_path, {"train.jsonl": rows("one", None, "two")}).texts == ("one", "two")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"train.jsonl": b""}, "has no rows in split `train`"),
        ({"train.csv": b"text\n"}, "has no rows in split `train`"),
        ({"test.jsonl": rows("one")}, "cannot be read: "),
        ({"README.md": b""}, "cannot be read: "),
        ({"build.py": b""}, "cannot be read: "),
        ({"train.jsonl": rows("one") + b'{"text": \n'}, "cannot be read: "),
        ({"train.jsonl": rows("one", 3)}, ", row 2: column 'text' holds int, not text"),
        ({"train.jsonl": rows("one") + b'{"text": "cut \\ud83d"}\n'}, "cannot be read: "),
        ({"train.jsonl": b'{"text": "caf\xe9"}\n'}, "cannot be read: "),
        ({"train.jsonl.gz": gzip.compress(rows("one"))[:-9]}, "cannot be read: "),
        ({"train.parquet": PARQUET}, "cannot be read: "),
        ({"train.txt": b"caf\xe9\n"}, "cannot be read: "),
        ({"train.jsonl": b'{"body": "one"}\n'}, ", row 1 has no column 'text'"),
    ],
)
def test_what_is_wrong_with_a_data_set_is_an_error_of_its_own(
    tmp_path: Path, files: Mapping[str, bytes], problem: str
) -> None:
    with pytest.raises(CalibrationError) as caught:
        collect(tmp_path, files)
    assert f"data set {tmp_path}{'' if problem.startswith(',') else ' '}{problem}" in caught.value.message
    assert caught.value.hint
