"""Puts the tensors of a finished checkpoint's shards into one GGUF file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quantize_lib.errors import CheckpointError
from quantize_lib.gguf_file.families import family_of, head_width, write_metadata
from quantize_lib.gguf_file.names import names_of
from quantize_lib.gguf_file.rotary import rotary_factors
from quantize_lib.gguf_file.types import FULL, file_number, ggml_type
from quantize_lib.gguf_file.vocabulary import write_vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_PLAIN = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_QUERY, _KEY, _NORM = "attn_q.", "attn_k.", "norm.weight"
ROTARY_FACTORS = "rope_freqs.weight"
"""Of embeddings that are scaled as Llama 3.1's."""


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
    from gguf import GGUFWriter

    part = path.with_suffix(".part")
    writer = GGUFWriter(part, family_of(config).architecture)
    try:
        write_metadata(writer, config, name=name, number=file_number(file_type))
        write_vocabulary(writer, base, config["vocab_size"])
        with _opened(shards) as tensors:
            _write_tensors(writer, tensors, config, types)
    finally:
        writer.close()
    part.rename(path)


def _write_tensors(
    writer: GGUFWriter, tensors: Mapping[str, Any], config: Mapping[str, Any], types: Mapping[str, str]
) -> None:
    named = names_of(config, tensors)
    kinds = {}
    for name, written in named.items():
        held = tensors[name].get_tensor(name)
        kind = types.get(name) or (FULL if held.dim() < 2 else _PLAIN.get(held.dtype, ""))
        if not kind or (held.dtype == torch.uint8) != (name in types):
            raise CheckpointError(f"{name} is stored as {held.dtype}, which is not what was planned")
        data = _as_stored(held, kind)
        kinds[name] = kind
        writer.add_tensor_info(
            written, data.shape, data.numpy().dtype, data.nbytes, raw_dtype=ggml_type(kind)
        )
        # Before the next one is mapped.
        del held, data
    factors = rotary_factors(config, head_width(config))
    made = None if factors is None else np.array(factors, dtype=np.float32)
    if made is not None:
        writer.add_tensor_info(ROTARY_FACTORS, made.shape, made.dtype, made.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, written in named.items():
        stored = _as_stored(tensors[name].get_tensor(name), kinds[name])
        writer.write_tensor_data(_as_meant(stored, written, config).contiguous().numpy())
    if made is not None:
        writer.write_tensor_data(made)


def _as_stored(tensor: Tensor, kind: str) -> Tensor:
    """Blocks as they are, 16 bits as bytes, everything else in float32."""
    if tensor.dtype == torch.uint8:
        return tensor
    if kind == FULL:
        return tensor.float()
    return tensor.contiguous().view(torch.uint8)


def _as_meant(tensor: Tensor, written: str, config: Mapping[str, Any]) -> Tensor:
    """A tensor as llama.cpp takes it, and as its own conversion gives it.

    Rows of queries and keys lie in pairs, where its embedding turns pairs (LlamaModel.permute in
    conversion/llama.py); norms that add one to their weights have it added (conversion/gemma.py).
    """
    family = family_of(config)
    if family.shifted and written.endswith(_NORM):
        return tensor + 1
    if not family.alternating or (_QUERY not in written and _KEY not in written):
        return tensor
    heads = config["num_attention_heads"]
    if _KEY in written:
        heads = config.get("num_key_value_heads") or heads
    pairs: Tensor = tensor.unflatten(0, (heads, 2, -1))
    return pairs.transpose(1, 2).flatten(0, 2)


@contextmanager
def _opened(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Every tensor's name → the open file that has it."""
    from safetensors import safe_open

    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(shard, framework="pt")) for shard in shards]
        yield {name: file for file in files for name in file.keys()}  # noqa: SIM118
