"""Names, dtypes and shapes of a model's tensors, from the safetensors headers alone.

A file begins with the header's length (8 bytes, little-endian), then the header as JSON, then the tensors'
bytes (https://huggingface.co/docs/safetensors, section Format). The header is foreign input: everything that
it says is checked against the file's size before anyone relies on it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.wording import show

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The safetensors library's own limit."""
MAX_INDEX_BYTES = 100_000_000
MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 64

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
"""Bits of one value by safetensors dtype."""

_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_AGAIN = "The file is damaged or incomplete; fetch the base model again."


def header_length(prefix: bytes, *, file: str, file_size: int) -> int:
    """Length of the JSON header in bytes, from the file's first 8 bytes.

    Raises:
        SourceError: where the file is shorter than its header, or the header longer than is allowed.
    """
    if len(prefix) < LENGTH_BYTES:
        raise SourceError(
            f"{file} is truncated: {file_size} bytes are no safetensors file",
            hint=_AGAIN,
        )
    length = int(struct.unpack("<Q", prefix[:LENGTH_BYTES])[0])
    if length > MAX_HEADER_BYTES:
        raise SourceError(
            f"{file} is no safetensors file: its header would be {length} bytes, "
            f"more than the {MAX_HEADER_BYTES} that are allowed",
            hint=_AGAIN,
        )
    if LENGTH_BYTES + length > file_size:
        raise SourceError(
            f"{file} is truncated: its header ends at byte {LENGTH_BYTES + length}, the file at {file_size}",
            hint=_AGAIN,
        )
    return length


def parse_header(data: bytes, *, file: str, file_size: int) -> dict[str, TensorInfo]:
    """The tensors of one shard.

    Args:
        data: the JSON header, without the length in front of it.
        file: the shard's name relative to the model's folder, for `TensorInfo` and messages.
        file_size: bytes of the whole file.

    Raises:
        SourceError: where the header is not what the format asks for, or disagrees with the file's size.
    """
    header = _parse_object(data, file)
    header.pop("__metadata__", None)
    tensors: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, start, end = _entry(name, entry, file)
        bits = DTYPE_BITS[dtype]
        for size in shape:
            bits *= size
        if bits % 8 or end - start != bits // 8:
            raise _damaged(file, f"{name} is {dtype} {list(shape)} but has {end - start} bytes")
        tensors[name] = TensorInfo(name=name, dtype=dtype, shape=shape, file=file)
        spans.append((start, end, name))
    position = 0
    for start, end, name in sorted(spans):
        if start != position:
            problem = "overlaps the tensor before it" if start < position else "leaves a hole before it"
            raise _damaged(file, f"{name} {problem}")
        position = end
    expected = LENGTH_BYTES + len(data) + position
    if expected > file_size:
        raise SourceError(
            f"{file} is truncated: its tensors end at byte {expected}, the file at {file_size}",
            hint=_AGAIN,
        )
    if expected < file_size:
        raise _damaged(file, f"{file_size - expected} bytes follow the last tensor")
    return tensors


def parse_index(
    data: bytes, *, file: str = INDEX, shard_name: re.Pattern[str] = _SHARD_NAME, kind: str = "*.safetensors"
) -> dict[str, str]:
    """Tensor name → shard, from `model.safetensors.index.json` or another format's index.

    Args:
        file: the index's own name, for messages.
        shard_name: what a shard may be called.
        kind: the same, for people.

    Raises:
        SourceError: where it is not an index, or a shard's name could lead out of the model's folder.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise _damaged(file, f"{len(data)} bytes are more than the {MAX_INDEX_BYTES} that are allowed")
    weight_map = _parse_object(data, file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _damaged(file, "it has no weight_map")
    for name, shard in weight_map.items():
        _check_name(name, file)
        if not isinstance(shard, str) or not shard_name.fullmatch(shard):
            raise SourceError(
                f"{file}: tensor {name} is said to be in {_shown(shard)}",
                hint=f"A shard is a plain {kind} file name beside the index, never a path.",
            )
    return weight_map


def check_named_file(config: Mapping[str, Any], names: Collection[str]) -> None:
    """See that `config.json` names no other file with weights than the one that is read.

    Args:
        names: of the model's files.

    Raises:
        SourceError: where it does.
    """
    named, read = config.get("transformers_weights"), SINGLE if SINGLE in names else INDEX
    if named not in (None, read):
        raise SourceError(
            f"config.json says transformers_weights: {show(named)}, which transformers reads instead of "
            f"{read}",
            hint=f"Take the key out of config.json, and call the file that is meant {SINGLE}.",
        )


def single_file(tensors: Mapping[str, TensorInfo], *, indexed: bool) -> Weights:
    """The tensors of a model in one file.

    Args:
        indexed: whether an index stands beside it.
    """
    notes = (f"{SINGLE} is read, as transformers does, and not {INDEX} beside it",) if indexed else ()
    return Weights(tensors=tensors, files=(SINGLE,), notes=notes)


def combine(
    weight_map: Mapping[str, str],
    read: Callable[[str], Mapping[str, TensorInfo]],
    *,
    there: Container[str],
) -> Weights:
    """The tensors of a model in several shards.

    As transformers reads them: every shard that the index names whole, in the order of their names, whatever
    else the index says. Of a tensor that stands in several the last one counts. A shard that is not there,
    which transformers stumbles over, is passed over: the model may need nothing of it.

    Args:
        weight_map: tensor name → shard.
        read: gives the tensors of one shard.
        there: the model's files.
    """
    tensors: dict[str, TensorInfo] = {}
    repeated: dict[str, str] = {}
    files, missing = shards_of(weight_map, there)
    for shard in files:
        found = read(shard)
        repeated |= {name: tensors[name].file for name in found if name in tensors}
        tensors |= found
    listed = {name: shard for name, shard in weight_map.items() if name in tensors}
    absent = {name: shard for name, shard in weight_map.items() if name not in tensors}
    unlisted = [name for name in tensors if name not in weight_map]
    notes = []
    if missing:
        notes.append(
            f"{INDEX} names {_named(missing)}, which is not there; the model needs nothing of it, but "
            "transformers loads the base model only without these entries of the index"
        )
    if lost := [name for name, shard in absent.items() if shard not in missing]:
        notes.append(f"{INDEX} lists {_named(lost)}, which no shard holds; the model does not need it")
    if unlisted:
        notes.append(f"{INDEX} does not list {_named(unlisted)}: read all the same, as transformers does")
    if repeated:
        first = next(iter(repeated))
        notes.append(
            f"several shards hold {_named(repeated)}: that of {tensors[first].file} is read and not that of "
            f"{repeated[first]}, as transformers does"
        )
    if moved := [n for n, shard in listed.items() if n not in repeated and shard != tensors[n].file]:
        notes.append(
            f"{INDEX} names another shard for {_named(moved)} than {tensors[moved[0]].file}, which holds it"
        )
    # In the order of the index, in which the tensors of a checkpoint come.
    tensors = {name: tensors[name] for name in (*listed, *unlisted)}
    return Weights(
        tensors=tensors, files=files, index=INDEX, absent=absent, missing=missing, notes=tuple(notes)
    )


def shards_of(
    weight_map: Mapping[str, str], there: Container[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that an index names, sorted: those that are there, and those that are not."""
    named = sorted(set(weight_map.values()))
    return tuple(name for name in named if name in there), tuple(name for name in named if name not in there)


def read_header(path: Path, *, file: str) -> dict[str, TensorInfo]:
    """The tensors of one local shard.

    Raises:
        SourceError: as `parse_header`, and where the file cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as shard:
            length = header_length(shard.read(LENGTH_BYTES), file=file, file_size=size)
            data = shard.read(length)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return parse_header(data, file=file, file_size=size)


def _parse_object(data: bytes, file: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, f"its header is not JSON ({error})" if file != INDEX else str(error)) from error
    if not isinstance(value, dict):
        raise _damaged(file, "a JSON object was expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        # Readers disagree on which of the two counts: the shape that we check must be the one that is loaded.
        raise ValueError("a name stands twice")
    return value


def _entry(name: str, entry: object, file: str) -> tuple[str, tuple[int, ...], int, int]:
    _check_name(name, file)
    if not isinstance(entry, dict):
        raise _damaged(file, f"{name} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _damaged(file, f"{name} has the unknown dtype {_shown(dtype)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(_is_size(size) for size in shape)
    ):
        raise _damaged(file, f"{name} has no valid shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise _damaged(file, f"{name} has no valid data_offsets")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _check_name(name: str, file: str) -> None:
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise _damaged(file, "a tensor's name is longer than is allowed or not printable")


def _named(names: Iterable[str]) -> str:
    first, *more = names
    return show(first, limit=MAX_NAME_LENGTH) + (f" and {len(more)} more" if more else "")


def _shown(value: object) -> str:
    """A foreign value in a message, whatever its length."""
    return repr(value)[:100]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _damaged(file: str, problem: str) -> SourceError:
    return SourceError(f"{file} is damaged: {problem}", hint=_AGAIN)
