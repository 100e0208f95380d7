"""How tensors lie in a GGUF file, and back: rows in pairs, norms with one added, routers in float32.

Source: LlamaModel.permute in conversion/llama.py of llama.cpp, conversion/gemma.py, and prepare_tensors in
conversion/base.py (MIT licence), in the version that llama-cpp-python 0.3.36 brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from quantize_lib.gguf_file.families import family_of
from quantize_lib.gguf_file.mix import is_router

_QUERY, _KEY, _NORM = "attn_q.", "attn_k.", "norm.weight"
_SHARED_GATE = "ffn_gate_inp_shexp.weight"


def is_full(written: str, tensor: Tensor) -> bool:
    """Whether a tensor is in float32 in the file, in whatever dtype it is.

    Args:
        written: its name there.
    """
    return tensor.dim() < 2 or is_router(written)


def as_meant(tensor: Tensor, written: str, config: Mapping[str, Any]) -> Tensor:
    """A tensor as llama.cpp takes it; blocks and 16 bits are bytes, by which no row is parted.

    Args:
        written: its name in the file.
        config: the language model's part of `config.json`.
    """
    family = family_of(config)
    if family.shifted and written.endswith(_NORM):
        return tensor + 1
    if written.endswith(_SHARED_GATE):
        return tensor.flatten()
    heads = _alternating_heads(written, config)
    if heads is None:
        return tensor
    pairs: Tensor = tensor.unflatten(0, (heads, 2, -1))
    return pairs.transpose(1, 2).flatten(0, 2)


def as_read(tensor: Tensor, written: str, config: Mapping[str, Any]) -> Tensor:
    """A tensor of a file as the model's class has it: what `as_meant` undoes, with its arguments."""
    family = family_of(config)
    if family.shifted and written.endswith(_NORM):
        return tensor - 1
    if written.endswith(_SHARED_GATE):
        return tensor[None]
    heads = _alternating_heads(written, config)
    if heads is None:
        return tensor
    pairs: Tensor = tensor.unflatten(0, (heads, -1, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


def _alternating_heads(written: str, config: Mapping[str, Any]) -> int | None:
    """Of queries and keys whose rows lie in pairs, where the embedding turns pairs; else None."""
    heads = config["num_attention_heads"]
    if not family_of(config).alternating or (_QUERY not in written and _KEY not in written):
        return None
    return int(heads if _QUERY in written else config.get("num_key_value_heads") or heads)
