"""Puts the tensors of a finished checkpoint's shards into one GGUF file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quantize_lib.errors import CheckpointError
from quantize_lib.gguf_file.families import family_of, head_width
from quantize_lib.gguf_file.metadata import write_metadata
from quantize_lib.gguf_file.names import is_stack, names_of, stacks_of
from quantize_lib.gguf_file.rotary import rotary_tensors, rotary_width
from quantize_lib.gguf_file.stored import as_meant, is_full
from quantize_lib.gguf_file.types import FULL, file_number, ggml_type
from quantize_lib.gguf_file.vocabulary import write_vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_PLAIN = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_LONG_NAME = "m" * 255
"""Longer than a model's name is."""
_ALIGNMENT = 32
"""Tensors begin at multiples of so many bytes."""


def write_file(
    path: Path,
    shards: Sequence[Path],
    *,
    base: Path,
    config: Mapping[str, Any],
    types: Mapping[str, str],
    name: str,
    file_type: str,
) -> None:
    """Write a file; it is whole when this returns.

    Args:
        shards: safetensors files with all tensors of the model, those of `types` as blocks.
        base: the base model's folder, for the vocabulary.
        config: the language model's part of its `config.json`.
        types: of tensors that are stored as blocks, by name in the shards.
        name: of the base model.
        file_type: a name of `FILE_TYPES`.

    Raises:
        EngineError: where the vocabulary is not one that a GGUF file can say.
        OSError: where the disk is full.
    """
    part = path.with_suffix(".part")
    with (
        _begun(part, base, config, name=name, number=file_number(file_type)) as writer,
        _opened(shards) as tensors,
    ):
        _write_tensors(writer, tensors, config, types)
    part.rename(path)


def header_bytes(base: Path, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> int:
    """What a file has beside the values of the base model's tensors, or up to 32 bytes a tensor more.

    Args:
        base: the base model's folder.
        config: the language model's part of its `config.json`.
        shapes: of all tensors, by name on disk.

    Raises:
        EngineError: where the vocabulary is not one that a GGUF file can say.
        OSError: where there is no room for it on disk.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "header.gguf"
        with _begun(path, base, config, name=_LONG_NAME, number=0) as writer:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
        size = path.stat().st_size
    named, more = names_of(config, shapes), _made(config)
    sizes = {**{named[name]: len(shape) for name, shape in shapes.items()}, **dict.fromkeys(more, 1)}
    # Of each tensor: its name with its length, how many sizes it has and these, its type, its place.
    size += sum(8 + len(written) + 4 + 8 * count + 4 + 8 for written, count in sizes.items())
    size += sum(int(factors.nbytes) for factors in more.values())
    # What is left free before the first one, and behind each.
    return size + _ALIGNMENT * (len(sizes) + 1)


@contextmanager
def _begun(
    path: Path, base: Path, config: Mapping[str, Any], *, name: str, number: int
) -> Iterator[GGUFWriter]:
    """The writer of a file that says everything but its tensors."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, family_of(config).architecture)
    try:
        write_metadata(writer, config, name=name, number=number)
        write_vocabulary(writer, base, config["vocab_size"])
        yield writer
    finally:
        writer.close()


def _made(config: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors that a file has and the base model has not: numpy arrays by name."""
    family = family_of(config)
    width = rotary_width(config, head_width(config), family.rotary_share)
    made = rotary_tensors(config, width, family.theta)
    return {name: np.array(values, np.float32) for name, values in made.items()}


def _write_tensors(
    writer: GGUFWriter, tensors: Mapping[str, Any], config: Mapping[str, Any], types: Mapping[str, str]
) -> None:
    stacks = stacks_of(names_of(config, tensors))
    kinds = {}
    for written, names in stacks.items():
        first = names[0]
        held = tensors[first].get_tensor(first)
        kind = types.get(first) or (FULL if is_full(written, held) else _PLAIN.get(held.dtype, ""))
        if not kind or any(_is_blocks(tensors[name], name) != (name in types) for name in names):
            raise CheckpointError(f"{first} is stored as {held.dtype}, which is not what was planned")
        data = _data(held, written, kind, config)
        shape = (len(names), *data.shape) if is_stack(written) else data.shape
        kinds[written] = kind
        size = data.nbytes * len(names)
        writer.add_tensor_info(written, shape, data.dtype, size, raw_dtype=ggml_type(kind))
        # Before the next one is mapped.
        del held, data
    more = _made(config)
    for name, factors in more.items():
        writer.add_tensor_info(name, factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for written, names in stacks.items():
        made = [_data(tensors[name].get_tensor(name), written, kinds[written], config) for name in names]
        writer.write_tensor_data(np.stack(made) if is_stack(written) else made[0])
    for factors in more.values():
        writer.write_tensor_data(factors)


def _is_blocks(file: Any, name: str) -> bool:
    """Whether a tensor is stored as blocks; its header says it."""
    return bool(file.get_slice(name).get_dtype() == "U8")


def _data(held: Tensor, written: str, kind: str, config: Mapping[str, Any]) -> Any:
    """What a file has of a tensor, or of one of those that it has in one: a numpy array."""
    return as_meant(_as_stored(held, kind), written, config).contiguous().numpy()


def _as_stored(tensor: Tensor, kind: str) -> Tensor:
    """Blocks as they are, 16 bits as bytes, everything else in float32."""
    if tensor.dtype == torch.uint8:
        return tensor
    if kind == FULL:
        return tensor.float()
    return tensor.contiguous().view(torch.uint8)


@contextmanager
def _opened(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Every tensor's name → the open file that has it."""
    from safetensors import safe_open

    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(shard, framework="pt")) for shard in shards]
        yield {name: file for file in files for name in file.keys()}  # noqa: SIM118
