"""Files of text as people keep them: read as rows, or refused by what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from quantize_lib.calibration import json_rows, streams, yaml_rows
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts, collect_texts
from quantize_lib.errors import CalibrationError

TEXTS = ("one über", 'two "walks" on, été', "three\n<b>", "four 😀 12")
ROWS = "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS)
LINES = tuple(text.replace("\n", " ") for text in TEXTS)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("c.txt", data)
    return buffer.getvalue()


def arrow_stream() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": TEXTS, "n": [1] * len(TEXTS)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_file(column: str = "text") -> bytes:
    sink = io.BytesIO()
    feather.write_feather(pa.table({column: TEXTS}), sink)
    return sink.getvalue()


def collect(folder: Path, name: str, data: bytes | str, column: str = "text", samples: int = 128) -> Texts:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return collect_texts(TextSpec(files=(path,), column=column, samples=samples), token=None)


def error_of(folder: Path, name: str, data: bytes | str, column: str = "text") -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        collect(folder, name, data, column)
    assert caught.value.message.startswith(str(folder / name))
    return caught.value


def named(value: object) -> str | None:
    """Bytes are no name of a test: packed ones differ from run to run."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.jsonl", ROWS),
        ("c.JSONL", ROWS),
        ("c.ndjson", ROWS),
        ("c.json", ROWS),
        ("c", ROWS),
        ("train.jsonl-00000-of-00001", ROWS),
        ("c.jsonl", "".join(json.dumps(text) + "\n" for text in TEXTS)),
        ("c.json", json.dumps(TEXTS)),
        ("c.jsonl", json.dumps(TEXTS)),
        ("c", json.dumps([{"text": text} for text in TEXTS], indent=2)),
        ("c.json", json.dumps([{"text": text} for text in TEXTS], indent=2)),
        ("c.json", "\n".join(json.dumps({"text": text}, indent=2) for text in TEXTS)),
        ("c.json", json.dumps({"data": [{"text": text} for text in TEXTS], "tags": []})),
        ("c.json", json.dumps({"version": "1", "rows": [{"text": text} for text in TEXTS]})),
        ("c.json", json.dumps({"text": TEXTS, "n": [1, 2, 3, 4]})),
        ("c.json", json.dumps({"text": dict(enumerate(TEXTS)), "n": {"0": 1}})),
        ("c.jsonl", "\ufeff" + ROWS + "\ufeff"),
        ("c.jsonl", ROWS.encode("utf-16")),
        ("c.jsonl", ROWS.encode("utf-16-le")),
        ("c.jsonl", ROWS.encode("utf-16-be")),
        ("c.json", ROWS.encode("utf-32")),
        ("c.jsonl.gz", gzip.compress(ROWS.encode())),
        ("c.jsonl", gzip.compress(ROWS.encode())),
        ("c.jsonl.gz", gzip.compress(ROWS.encode()[:40]) + gzip.compress(ROWS.encode()[40:])),
        ("c.JSON.GZ", gzip.compress(json.dumps(TEXTS).encode())),
        ("c.gz", gzip.compress(ROWS.encode("utf-16"))),
        ("c.jsonl.bz2", bz2.compress(ROWS.encode())),
        ("c.jsonl.xz", lzma.compress(ROWS.encode())),
        ("c.jsonl.lzma", lzma.compress(ROWS.encode(), format=lzma.FORMAT_ALONE)),
        ("c.jsonl.zst", zstd(ROWS.encode())),
        ("c.arrow", arrow_stream()),
        ("data-00000", arrow_stream()),
        ("c.arrow", arrow_file()),
        ("c.feather", arrow_file()),
        ("c.yaml", "".join(f"- {json.dumps(text)}\n" for text in TEXTS)),
        ("c.yml", "".join(f"- n: 1\n  text: {json.dumps(text)}\n- null\n" for text in TEXTS)),
        ("c.yaml", "\ufeff" + json.dumps(TEXTS)),
        ("c.yaml", "---\n".join(f"text: {json.dumps(text)}\n" for text in TEXTS)),
    ],
    ids=named,
)
def test_rows_are_read_whatever_they_are_kept_in(tmp_path: Path, name: str, data: bytes | str) -> None:
    texts = collect(tmp_path, name, data)
    assert texts.texts == TEXTS
    assert texts.notes == ()
    assert texts.revision == collect(tmp_path, "other.jsonl", ROWS).revision


@pytest.mark.parametrize(
    ("name", "separator", "quoted"),
    [
        ("c.tsv", "\t", False),
        ("c.TSV", "\t", True),
        ("c.csv", "\t", False),
        ("c.csv", ";", True),
        ("c.tsv", ",", True),
        ("c.csv", ",", True),
    ],
    ids=named,
)
def test_tables_are_read_whatever_separates_their_values(
    tmp_path: Path, name: str, separator: str, quoted: bool
) -> None:
    def value(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted else text

    rows = [f"web{separator}{value(text)}\n" for text in ('"walks" again', *LINES)]
    table = f"source{separator}text\n" + "".join(rows)
    assert collect(tmp_path, name, table).texts == ('"walks" again', *LINES)
    assert collect(tmp_path, name, table.encode("utf-16")).texts == ('"walks" again', *LINES)


def test_a_yaml_scalar_is_the_text_that_was_written(tmp_path: Path) -> None:
    assert collect(tmp_path, "c.yaml", "- no\n- 1.0\n- 2026-01-01\n- ~\n- '~'\n").texts == (
        *("no", "1.0", "2026-01-01", "~"),
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.txt", "\n".join(LINES)),
        ("c.md", "# Title\n\n{not json}"),
        ("c.tex", "{\\bf text} and more"),
        ("c.log", '[info] "walks"\n'),
        ("c", "plain \x1b[31mtext\x0c"),
        ("c.py", "['a']"),
    ],
    ids=named,
)
def test_plain_text_stays_one_document(tmp_path: Path, name: str, data: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert collect(tmp_path, name, data.encode(encoding)).texts == (data,)
    assert collect(tmp_path, f"{name}.gz", gzip.compress(data.encode())).texts == (data,)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["plain text\n", "слово и дело\n", "日本語 12。\n", "été über"])
def test_utf_16_is_known_without_its_mark(tmp_path: Path, text: str, encoding: str) -> None:
    assert collect(tmp_path, "c.txt", text.encode(encoding)).texts == (text,)


def test_a_text_file_of_json_is_one_document_as_it_is_called_with_a_warning(tmp_path: Path) -> None:
    texts = collect(tmp_path, "c.txt", ROWS)
    assert texts.texts == (ROWS,)
    assert texts.notes == (
        f"{tmp_path / 'c.txt'} holds JSON and is one document, as it is called; as .jsonl its rows would be",
    )


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("c.zip", zipped(b"text"), "a zip archive"),
        ("c.docx", zipped(b"text"), "a zip archive"),
        ("c.txt", zipped(b"text"), "a zip archive"),
        ("c.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40), "an archive"),
        ("c.tar.gz", gzip.compress(bytes(257) + b"ustar" + bytes(300)), "an archive"),
        ("c.txt.lz4", b"\x04\x22\x4d\x18" + bytes(99), "a packed file of another kind"),
        ("c.txt.Z", b"\x1f\x9d\x90text", "a packed file of another kind"),
        ("c.pdf", b"%PDF-1.7\n1 0 obj\n", "a PDF document"),
        ("c.txt", b"\n%PDF-1.7\n1 0 obj\n", "a PDF document"),
        ("c.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "a document of Microsoft Office"),
        ("c.rtf", b"{\\rtf1\\ansi text}", "an RTF document"),
        ("c.html", b"<p>text</p>", "HTML or XML"),
        ("c.txt", b"\xef\xbb\xbf<!-- saved --> <!DOCTYPE html><p>text", "HTML or XML"),
        ("c.txt", "<html><body>text".encode("utf-16"), "HTML or XML"),
        ("c", b"<?xml version='1.0'?><p>text</p>", "HTML or XML"),
        ("c.pkl", b"anything", "a pickle"),
        *(("c.bin", pickle.dumps(list(TEXTS), protocol=number), "a pickle") for number in (0, 2, 3, 4, 5)),
        ("c.bin", bytes(range(128)) * 20, "binary, not text"),
        ("c.jsonl", b"\x93NUMPY\x01\x00" + bytes(99), "binary, not text"),
        ("c.txt", pickle.dumps(list(TEXTS), protocol=1), "binary, not text"),
        ("c.parquet.gz", gzip.compress(b"PAR1" + bytes(99)), "a packed .parquet file"),
        ("c.gz", gzip.compress(arrow_file()), "a packed .arrow file"),
        ("c.gz", gzip.compress(gzip.compress(b"text")), "packed twice"),
        ("c.txt.gz", gzip.compress(ROWS.encode())[:-9], "a damaged gzip file"),
        ("c.txt.gz", b"\x1f\x8bno", "a damaged gzip file"),
        ("c.bz2", bz2.compress(ROWS.encode())[:-9], "a damaged bzip2 file"),
        ("c.xz", lzma.compress(ROWS.encode())[:-9], "a damaged xz file"),
        ("c.zst", zstd(ROWS.encode())[:-9], "a damaged zstd file"),
        ("c.arrow", arrow_stream()[:-99], "no valid Arrow file"),
        ("c.arrow", b"text", "no valid Arrow file"),
    ],
    ids=named,
)
def test_what_is_no_text_is_refused_by_what_it_is(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    error = error_of(tmp_path, name, data)
    assert error.message.startswith(f"{tmp_path / name} is {what}")
    assert error.hint


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
            return Path.touch, (tmp_path / "pwned",)

    for protocol in range(6):
        error_of(tmp_path, "c.pkl", pickle.dumps(Trap(), protocol=protocol))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl", "c.parquet", "c.jsonl.gz"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n"
    error = error_of(tmp_path, name, pointer)
    assert error.message == f"{tmp_path / name} is a Git LFS pointer, not the text itself"
    assert error.hint == "Fetch the text with `git lfs pull`; in a workflow check out with `lfs: true`."


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("c.json", '{"body": "x", "title": "y"}', ":1 has no column 'text'"),
        ("c.json", '{"train": ["x"], "test": ["y"]}', ":1 has no column 'text'"),
        ("c.json", '[\n"x",\n{"body": "y"}]', ":3 has no column 'text'"),
        ("c.json", '["x" "y"]', ":1 is not JSON: there is no ','"),
        ("c.json", '["x",\n"y"', ":2 is not JSON: it ends there"),
        ("c.json", '["x"]\n["y"]', ":2 is not JSON: something follows the end of the list"),
        ("c.json", '{"text": {"0": "x", "1": 3}}', ":1, row 2, is no JSON object and no text"),
        ("c.json", '{"text": 3}', ":1: column 'text' holds int, not text"),
        ("c.json", '{"data": ["x", 3]}', ":1, row 2, is no JSON object and no text"),
        ("c.json", "3", ":1 is no JSON object and no text"),
        ("c.json", "[1" + "0" * 5000 + "]", ":1 is not JSON: "),
        ("c.tsv", "title\tbody\nx\ty\n", " has no column 'text'"),
        ("c.csv", "title,body\n", " has no column 'text'"),
        ("c.arrow", arrow_file("body"), " has no column 'text'"),
        ("c.yaml", "title: x\n", " has no column 'text'"),
        ("c.yaml", "- x\n- [y]\n", ", row 2, is no YAML mapping and no text"),
        ("c.yaml", "- x\n- 'y\n", ":3 is not YAML: "),
        ("c.yaml", "[" * 5000, " is not YAML: "),
        ("c.yaml", "? {a: b}\n: c\n", " is not YAML: "),
    ],
    ids=named,
)
def test_a_file_without_rows_of_text_is_told_with_the_place(
    tmp_path: Path, name: str, data: bytes | str, problem: str
) -> None:
    assert problem in error_of(tmp_path, name, data).message


def test_more_yaml_than_is_read_as_a_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_rows, "_MOST", 1000)
    error = error_of(tmp_path, "c.yaml", "- a\n" * 251)
    assert error.message.endswith("is YAML of more than 1.0 kB")
    assert error.hint == "Write the rows as .jsonl."


def test_aliases_of_yaml_cannot_use_up_memory(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
    assert error_of(tmp_path, "c.yaml", f"l0: &l0 {{a: b}}\n{levels}").hint


def test_a_comment_of_any_length_does_not_hold_up_the_look_for_html(tmp_path: Path) -> None:
    text = "<!---->" * 9000
    assert collect(tmp_path, "c.txt", text).texts == (text,)


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl", "c.csv", "c.json"])
def test_what_unpacks_to_far_more_than_text_does_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_UNPACKED", 1 << 20)
    data = (b"text" if name == "c.csv" else b"") + b"\n" * (1 << 22)
    for pack, suffix in ((gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz"), (zstd, "zst")):
        message = error_of(tmp_path, f"{name}.{suffix}", pack(data)).message
        assert message.endswith("unpacks to more than 100 times its size, which no text does")


def test_no_more_is_unpacked_than_is_needed(tmp_path: Path) -> None:
    data = gzip.compress(b"word " * 400_000)
    texts = collect(tmp_path, "c.txt.gz", data[: len(data) // 2], samples=1)
    assert [len(text) for text in texts.texts] == [512 * 12]


def test_a_value_of_json_longer_than_any_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_MOST", 1 << 18)
    message = error_of(tmp_path, "c.jsonl", '{"text": "' + "x" * (1 << 20)).message
    assert message.endswith(":1 is not JSON: one value of more than 262144 characters")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("café\n".encode("cp1252"), "If this reads right: `café`, it is Windows-1252 (Latin-1)"),
        ("a\n“quoted” text\n".encode("cp1252"), "If this reads right: `“quoted” text`, it is"),
        ("слово и дело".encode("cp1251"), "Convert it from the one that it was saved in: iconv -f ENCODING"),
        ("日本語の文章".encode("shift_jis"), "Convert it from the one that it was saved in"),
        (
            "日本語の文章".encode() + b"\xff" + "日本語".encode(),
            "The rest of it is UTF-8, so it is damaged there",
        ),
        ("日本語の文章".encode()[:-1], "It ends inside a character, so it was cut off"),
    ],
    ids=named,
)
def test_the_advice_for_another_encoding_is_what_its_bytes_say(
    tmp_path: Path, data: bytes, hint: str
) -> None:
    error = error_of(tmp_path, "c.txt", data)
    assert error.hint is not None
    assert hint in error.hint
    for name, text in (("c.csv", b"text\n" + data), ("c.yaml", b"- " + data), ("c.jsonl", b'"' + data)):
        table = error_of(tmp_path, name, text)
        assert re.match(r".* is not UTF-8: byte 0x[0-9a-f]{2} at offset \d+$", table.message)
        assert table.hint is not None
        assert hint.partition(" it is")[0].partition("`")[0] in table.hint


def test_a_command_of_the_advice_is_safe_to_copy(tmp_path: Path) -> None:
    hint = error_of(tmp_path, "$(touch pwned) a.csv", "text\ncafé\n".encode("latin-1")).hint
    assert hint is not None
    assert hint.endswith("-t UTF-8 '$(touch pwned) a.csv' > '$(touch pwned) a-utf8.csv'")
    hint = error_of(tmp_path, "a b.txt.gz", gzip.compress("café\n".encode("latin-1"))).hint
    assert hint is not None
    assert hint.endswith(": gzip -dc 'a b.txt.gz' | iconv -f WINDOWS-1252 -t UTF-8 > 'a b-utf8.txt'")


HALF, PAIR = "\\ud83d", "\\ud83d\\ude00"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.jsonl", f'{{"text": "cut {HALF}"}}\n{{"text": "whole {PAIR}"}}\n'),
        ("c.json", f'["cut {HALF}", "whole {PAIR}"]'),
        ("c.csv", b"text\ncut \xed\xa0\xbd\nwhole \xed\xa0\xbd\xed\xb8\x80\n"),
        ("c.yaml", f'- "cut {HALF}"\n- "whole {PAIR}"\n'),
        ("c.yaml", b"- cut \xed\xa0\xbd\n- whole \xed\xa0\xbd\xed\xb8\x80\n"),
        ("c.jsonl", '"cut \ud83d" "whole \U0001f600"'.encode("utf-16-le", "surrogatepass")),
    ],
    ids=named,
)
def test_half_a_character_is_mended_with_one_warning_that_counts(
    tmp_path: Path, name: str, data: bytes | str
) -> None:
    data = b"\xff\xfe" + data if isinstance(data, bytes) and data.startswith(b'"\0') else data
    texts = collect(tmp_path, name, data)
    assert texts.texts == ("cut \ufffd", "whole \U0001f600")
    assert texts.notes == (
        f"{tmp_path / name}: half of a character stands in it (a lone surrogate, as where a text is cut), "
        "read as U+FFFD",
    )


def test_halves_are_mended_in_parquet_and_arrow_too(tmp_path: Path) -> None:
    values = pa.array([b"cut \xed\xa0\xbd", b"whole", b"\xff"][:2]).cast(pa.binary())
    column = pa.StringArray.from_buffers(len(values), *values.buffers()[1:])
    for name in ("c.arrow", "c.parquet"):
        path = tmp_path / name
        if name == "c.arrow":
            feather.write_feather(pa.table({"text": column}), str(path), compression="uncompressed")
        else:
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"text": column}), path)
        assert collect_texts(TextSpec(files=(path,)), token=None).texts == ("cut \ufffd", "whole")


def test_halves_in_the_texts_of_a_command_line_are_counted() -> None:
    texts = collect_texts(TextSpec(texts=("a \ud83d b \ude00", "caf\udce9")), token=None)
    assert texts.texts == ("a \ufffd b \ufffd", "caf\ufffd")
    assert texts.notes == (
        "2 texts: 3 halves of characters stand in it (a lone surrogate, as where a text is cut), "
        "read as U+FFFD",
    )
