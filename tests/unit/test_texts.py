from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.errors import CalibrationError


def of_files(*files: Path, column: str = "text", samples: int = 128) -> TextSpec:
    return TextSpec(files=files, column=column, samples=samples)


def error_of(spec: TextSpec) -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        collect_texts(spec, token=None)
    return caught.value


def test_texts_of_the_manifest_are_taken_as_they_are() -> None:
    texts = collect_texts(TextSpec(texts=("one", " ", "two\n")), token=None)
    assert texts.texts == ("one", "two\n")
    assert texts.source == "3 texts"
    assert texts.dataset is None
    assert texts.revision.startswith("sha256:")


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "news.txt"
    path.write_bytes("\ufeffÜber uns\r\nzwei\n".encode())
    texts = collect_texts(of_files(path), token=None)
    assert texts.texts == ("Über uns\r\nzwei\n",)
    assert texts.source == "1 file"


def test_rows_of_tables_are_documents_and_nulls_are_none(tmp_path: Path) -> None:
    rows = [{"body": "one", "n": 1}, {"body": None, "n": 2}, {"body": "dos, tres\nñ", "n": 3}]
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    table = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    sheet = tmp_path / "a.csv"
    sheet.write_text('n,body\n1,one\n2,\n3,"dos, tres\nñ"\n', encoding="utf-8")
    for path in (lines, table, sheet):
        assert collect_texts(of_files(path, column="body"), token=None).texts == ("one", "dos, tres\nñ")


def test_the_revision_depends_on_the_text_and_on_nothing_else(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_text("the same")
    first, second = (collect_texts(of_files(path), token=None).revision for path in paths)
    assert first == second
    paths[1].write_text("another")
    assert collect_texts(of_files(paths[1]), token=None).revision != first
    assert (
        collect_texts(TextSpec(texts=("ab", "c")), token=None).revision
        != collect_texts(TextSpec(texts=("a", "bc")), token=None).revision
    )


def test_no_more_is_collected_than_is_needed(tmp_path: Path) -> None:
    path, never = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("ä" * 20_000, encoding="utf-8")
    never.write_bytes(b"\xff")
    spec = TextSpec(files=(path, never), samples=2, sequence_length=512)
    assert [len(text) for text in collect_texts(spec, token=None).texts] == [2 * 512 * 12]


def test_a_file_in_another_encoding_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 au lait")
    error = error_of(of_files(path))
    assert error.message == f"{path} is not UTF-8: byte 0xe9 at offset 3"
    assert error.hint == (
        "Its bytes do not say which encoding it is in. If this reads right: `café au lait`, it is "
        "Windows-1252 (Latin-1); then convert it: iconv -f WINDOWS-1252 -t UTF-8 latin.txt > latin-utf8.txt"
    )


def test_a_file_that_ends_inside_a_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt"
    path.write_bytes("\ufeffé".encode()[:-1])
    assert error_of(of_files(path)).message == f"{path} is not UTF-8: byte 0xc3 at offset 3"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error_of(of_files(tmp_path / "gone.txt")).message == (
        f"{tmp_path / 'gone.txt'} cannot be read: No such file or directory"
    )


def test_files_without_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "blank.txt"
    path.write_text(" \n")
    assert error_of(of_files(path)).message == f"{path}: there is no text in it"
    many = of_files(*[path] * 4)
    assert error_of(many).message == "4 files: there is no text in it"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": ', "is not JSON: "),
        ("[" * 50_000, "is not JSON: "),
        ("[1]", "is no JSON object"),
        ('{"body": "x"}', "has no column 'text'"),
        ('{"text": 3}', ": column 'text' holds int, not text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    message = error_of(of_files(path)).message
    assert message.startswith(f"{path}:2")
    assert problem in message


def test_a_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n{"text": "caf\xe9"}\n')
    assert error_of(of_files(path)).message == f"{path}:2 is not UTF-8: byte 0xe9 at offset 13"


def test_a_missing_column_lists_those_that_are_there(tmp_path: Path) -> None:
    table, sheet = tmp_path / "a.parquet", tmp_path / "a.csv"
    pq.write_table(pa.table({"title": ["x"], "body": ["y"]}), table)
    sheet.write_text("title,body\nx,y\n")
    for path in (table, sheet):
        error = error_of(of_files(path))
        assert "has no column 'text'" in error.message
        assert error.hint == "Columns: 'title', 'body'."


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no magic")
    assert error_of(of_files(path)).message.startswith(f"{path} is no valid Parquet file: ")


def test_a_csv_cell_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text\n"' + "x" * 200_000 + '"\n')
    assert error_of(of_files(path)).message.startswith(f"{path} is no valid CSV: field larger than")
