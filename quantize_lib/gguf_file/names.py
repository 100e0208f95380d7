"""What llama.cpp calls a model's tensors, and which type each gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.families import family_of, shares_values
from quantize_lib.gguf_file.mix import OUTPUT, Mix

_INSIDE = re.compile(r"layers\.(\d+)\.(.+)")
_OUTSIDE = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_LAYERS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Of the families here. The package `gguf` has them too, and imports numpy, which a plan does without; a test
compares."""


def names_of(config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, str]:
    """Names in the file by names on disk, in the order in which they are stored.

    Args:
        config: the language model's part of `config.json`.

    Raises:
        EngineError: where a tensor has no name in such a file.
    """
    found: dict[str, str] = {}
    layers = {**_LAYERS, **family_of(config).layers}
    for name in tensors:
        module, _, leaf = name.removeprefix("model.").rpartition(".")
        inside = _INSIDE.fullmatch(module)
        written = _OUTSIDE.get(module) if inside is None else layers.get(inside[2])
        if written is None or leaf not in ("weight", "bias"):
            raise EngineError(
                f"the tensor {name} has no name in a GGUF file of {family_of(config).architecture}"
            )
        place = "" if inside is None else f"blk.{inside[1]}."
        found[name] = f"{place}{written}.{leaf}"
    return found


def types_of(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], kept: Iterable[str], file_type: str
) -> dict[str, str]:
    """Types of the matrices of a model, by name on disk.

    Args:
        config: the language model's part of `config.json`.
        shapes: of all tensors.
        kept: names of those that stay as they are.
        file_type: a name of `FILE_TYPES`.

    Raises:
        EngineError: where a tensor has no name in such a file.
    """
    named = names_of(config, shapes)
    mix = Mix(
        file_type=file_type,
        blocks=config["num_hidden_layers"],
        tied=bool(config.get("tie_word_embeddings")) or OUTPUT not in named.values(),
        shares_values=shares_values(config),
    )
    left = frozenset(kept)
    return {
        name: mix.tensor_type(written, shapes[name][-1])
        for name, written in named.items()
        if len(shapes[name]) == 2 and name not in left
    }
