from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.source.headers import MAX_HEADER_BYTES, combine, parse_index, read_header, single_file
from tests.support.model_files import header_of, shard_bytes

TWO = {"a": (2, 3), "b": (4,)}


def message_of(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_header(path, file="model.safetensors")
    assert caught.value.hint == "The file is damaged or incomplete; fetch the base model again."
    return caught.value.message


def with_entry(**changes: Any) -> bytes:
    header = header_of(TWO, "F32")
    header["a"] |= changes
    return shard_bytes(header, 40)


def test_a_valid_header_gives_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(shard_bytes(header_of(TWO, "F32"), 40))
    assert read_header(path, file="x.safetensors") == {
        "a": TensorInfo(name="a", dtype="F32", shape=(2, 3), file="x.safetensors"),
        "b": TensorInfo(name="b", dtype="F32", shape=(4,), file="x.safetensors"),
    }


def test_a_file_shorter_than_its_length_field_is_truncated(tmp_path: Path) -> None:
    assert message_of(tmp_path, b"\x10\0\0") == (
        "model.safetensors is truncated: 3 bytes are no safetensors file"
    )


def test_a_file_that_ends_inside_its_header_is_truncated(tmp_path: Path) -> None:
    data = shard_bytes(header_of(TWO, "F32"), 40)[:50]
    length = struct.unpack("<Q", data[:8])[0]
    assert message_of(tmp_path, data) == (
        f"model.safetensors is truncated: its header ends at byte {8 + length}, the file at 50"
    )


def test_a_file_that_ends_inside_its_tensors_is_truncated(tmp_path: Path) -> None:
    data = shard_bytes(header_of(TWO, "F32"), 39)
    assert message_of(tmp_path, data) == (
        f"model.safetensors is truncated: its tensors end at byte {len(data) + 1}, the file at {len(data)}"
    )


def test_a_header_longer_than_allowed_is_never_read(tmp_path: Path) -> None:
    length = MAX_HEADER_BYTES + 1
    assert message_of(tmp_path, struct.pack("<Q", length)) == (
        f"model.safetensors is no safetensors file: its header would be {length} bytes, "
        "more than the 100000000 that are allowed"
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (with_entry(dtype="F33"), "a has the unknown dtype 'F33'"),
        (with_entry(dtype=["F32"]), "a has the unknown dtype ['F32']"),
        (with_entry(shape=[2, -3]), "a has no valid shape"),
        (with_entry(shape=[True, 6]), "a has no valid shape"),
        (with_entry(shape=[1] * 65), "a has no valid shape"),
        (with_entry(shape="23"), "a has no valid shape"),
        (with_entry(data_offsets=[0]), "a has no valid data_offsets"),
        (with_entry(data_offsets=[0.0, 24.0]), "a has no valid data_offsets"),
        (with_entry(shape=[2, 4]), "a is F32 [2, 4] but has 24 bytes"),
        (with_entry(data_offsets=[24, 0]), "a is F32 [2, 3] but has -24 bytes"),
        (with_entry(shape=[1 << 62, 1 << 62]), f"a is F32 [{1 << 62}, {1 << 62}] but has 24 bytes"),
        (shard_bytes({"a": 3}, 0), "a is not described by an object"),
        (shard_bytes({"a\n::error::x": {}}, 0), "a tensor's name is longer than is allowed or not printable"),
        (shard_bytes([1], 0), "a JSON object was expected"),
        (shard_bytes(header_of(TWO, "F32"), 43), "3 bytes follow the last tensor"),
    ],
)
def test_a_header_that_contradicts_itself_is_damaged(tmp_path: Path, data: bytes, problem: str) -> None:
    assert message_of(tmp_path, data) == f"model.safetensors is damaged: {problem}"


@pytest.mark.parametrize(
    ("start", "problem"), [(28, "leaves a hole before it"), (16, "overlaps the tensor before it")]
)
def test_tensors_that_do_not_follow_each_other_are_damage(tmp_path: Path, start: int, problem: str) -> None:
    header = header_of(TWO, "F32")
    header["b"]["data_offsets"] = [start, start + 16]
    message = message_of(tmp_path, shard_bytes(header, start + 16))
    assert message == f"model.safetensors is damaged: b {problem}"


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": {}, "a": {}}'])
def test_a_header_that_is_no_sound_json_is_damaged(tmp_path: Path, text: bytes) -> None:
    message = message_of(tmp_path, struct.pack("<Q", len(text)) + text)
    assert message.startswith("model.safetensors is damaged: its header is not JSON (")


@pytest.mark.parametrize(
    "shard",
    [
        "../other/model.safetensors",
        "/etc/model.safetensors",
        "a/b.safetensors",
        ".x.safetensors",
        "m.bin",
        3,
        "",
    ],
)
def test_an_index_cannot_lead_out_of_the_folder(shard: object) -> None:
    with pytest.raises(SourceError) as caught:
        parse_index(json.dumps({"weight_map": {"w": shard}}).encode())
    assert caught.value.message == f"model.safetensors.index.json: tensor w is said to be in {shard!r}"


def test_an_index_with_an_unprintable_name_is_damaged() -> None:
    with pytest.raises(SourceError, match="a tensor's name is longer than is allowed or not printable"):
        parse_index(json.dumps({"weight_map": {"w\n::error::": "m.safetensors"}}).encode())


@pytest.mark.parametrize("text", [b"{}", b'{"weight_map": []}', b'{"weight_map": {}}'])
def test_an_index_without_a_weight_map_is_damaged(text: bytes) -> None:
    with pytest.raises(SourceError, match="it has no weight_map"):
        parse_index(text)


def shards(**held: str) -> dict[str, dict[str, TensorInfo]]:
    """Three shards, each with tensors of one letter."""
    return {
        f"{shard}.safetensors": {
            name: TensorInfo(name=name, dtype="F32", shape=(), file=f"{shard}.safetensors") for name in names
        }
        for shard, names in held.items()
    }


def combined(weight_map: dict[str, str], **held: str) -> Weights:
    there = shards(**held)
    listed = {name: f"{shard}.safetensors" for name, shard in weight_map.items()}
    return combine(listed, there.__getitem__, there=there)


def test_an_index_that_agrees_with_its_shards_gives_its_order_and_no_note() -> None:
    found = combined({"c": "two", "a": "one", "b": "one"}, one="ab", two="c")
    assert list(found.tensors) == ["c", "a", "b"]
    assert (found.files, found.absent, found.notes) == (("one.safetensors", "two.safetensors"), {}, ())


def test_a_tensor_that_no_shard_holds_is_told() -> None:
    found = combined({"a": "one", "w": "one"}, one="a")
    assert found.absent == {"w": "one.safetensors"}
    assert found.notes == (
        "model.safetensors.index.json lists `w`, which no shard holds; the model does not need it",
    )


def test_what_the_index_does_not_list_is_read_and_told() -> None:
    found = combined({"a": "one"}, one="abc")
    assert list(found.tensors) == ["a", "b", "c"]
    assert found.notes == (
        "model.safetensors.index.json does not list `b` and 1 more: read all the same, as transformers does",
    )


@pytest.mark.parametrize("listed", ["one", "two", "three"])
def test_of_a_tensor_in_several_shards_that_of_the_last_one_counts_whatever_the_index_says(
    listed: str,
) -> None:
    # By the name of the shard: `two` comes after `three`.
    found = combined({"b": "two", "c": "three", "a": listed, "d": "one"}, one="ad", two="ab", three="ac")
    assert found.tensors["a"].file == "two.safetensors"
    assert found.notes == (
        "several shards hold `a`: that of two.safetensors is read and not that of three.safetensors, as "
        "transformers does",
    )


def test_a_tensor_in_another_shard_than_the_index_says_is_read_from_there() -> None:
    found = combined({"a": "one", "b": "two"}, one="ab", two="")
    assert found.tensors["b"].file == "one.safetensors"
    assert found.notes == (
        "model.safetensors.index.json names another shard for `b` than one.safetensors, which holds it",
    )


def test_a_file_beside_an_index_is_read_alone_and_that_is_told() -> None:
    tensors = shards(model="a")["model.safetensors"]
    assert single_file(tensors, indexed=False).notes == ()
    found = single_file(tensors, indexed=True)
    assert (found.tensors, found.files) == (tensors, ("model.safetensors",))
    assert found.notes == (
        "model.safetensors is read, as transformers does, and not model.safetensors.index.json beside it",
    )
