from __future__ import annotations

import json
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.errors import SourceError
from quantize_lib.source.headers import parse_header, parse_index, read_header
from tests.support.model_files import BYTES, header_of, shard_bytes, write_shard

NAMES = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
SHAPES = st.dictionaries(NAMES, st.lists(st.integers(0, 5), max_size=3).map(tuple), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.dictionaries(
    st.text(max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(sorted(BYTES)) | JSON,
            "shape": st.lists(st.integers(0, 9), max_size=3) | JSON,
            "data_offsets": st.lists(st.integers(0, 99), min_size=2, max_size=2) | JSON,
        },
    )
    | JSON,
    max_size=4,
)


@given(SHAPES, st.sampled_from(sorted(BYTES)))
def test_what_was_written_is_read(shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        write_shard(path, shapes, dtype)
        found = read_header(path, file="m.safetensors")
    assert {name: (info.dtype, info.shape) for name, info in found.items()} == {
        name: (dtype, shape) for name, shape in shapes.items()
    }


@given(SHAPES.filter(bool), st.data())
def test_a_file_that_was_cut_anywhere_is_refused(
    shapes: dict[str, tuple[int, ...]], data: st.DataObject
) -> None:
    whole = shard_bytes(header_of(shapes, "F32"), 0)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match="truncated"):
            read_header(path, file="m.safetensors")


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_header_and_no_index_escapes_the_error_family(text: bytes) -> None:
    for parse in (parse_index, lambda data: parse_header(data, file="m", file_size=8 + len(data))):
        with suppress(SourceError):
            parse(text)


@given(ENTRIES, st.integers(0, 200))
def test_a_header_that_is_taken_describes_exactly_the_file(entries: dict[str, object], size: int) -> None:
    text = json.dumps(entries).encode()
    try:
        found = parse_header(text, file="m", file_size=8 + len(text) + size)
    except SourceError:
        return
    total = 0
    for info in found.values():
        count = BYTES.get(info.dtype, 0)
        for length in info.shape:
            count *= length
        total += count
    assert total == size


@given(st.binary(max_size=64))
def test_no_file_escapes_the_error_family(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(struct.pack("<Q", len(data) // 2) + data)
        with suppress(SourceError):
            read_header(path, file="m.safetensors")
