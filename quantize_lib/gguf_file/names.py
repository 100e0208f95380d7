"""What llama.cpp calls a model's tensors, and which type each gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from quantize_lib.errors import SourceError
from quantize_lib.gguf_file.families import family_of, shares_values
from quantize_lib.gguf_file.mix import OUTPUT, Mix, is_router

_INSIDE = re.compile(r"layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"(?<=experts\.)(\d+)(?=\.)")
_STACK = re.compile(r"_exps\.(?:weight|bias)$")
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_HEAD = "output"
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
"""Of most families here. The package `gguf` has them too, and imports numpy, which a plan does without; a
test compares."""


def names_of(config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, str]:
    """Names in the file by names on disk, in the order in which they are stored.

    The matrices of a block's experts are one tensor of the file, and have one name.

    Args:
        config: the language model's part of `config.json`.

    Raises:
        SourceError: where a tensor has no name in such a file.
    """
    found: dict[str, str] = {}
    family = family_of(config)
    layers = {**_LAYERS, **family.layers}
    for name in tensors:
        module, _, leaf = name.removeprefix("model.").rpartition(".")
        inside = _INSIDE.fullmatch(module)
        written = _OUTSIDE.get(module) if inside is None else layers.get(_EXPERT.sub("*", inside[2]))
        if written is None or leaf not in ("weight", "bias"):
            raise SourceError(
                f"the tensor {name} has no name in a GGUF file of {family.architecture}",
                hint="Take another method.",
            )
        place = "" if inside is None else f"blk.{inside[1]}."
        found[name] = f"{place}{written}.{leaf}"
    return found


def stacks_of(named: Mapping[str, str]) -> dict[str, list[str]]:
    """The tensors of a file, each with the names on disk of what is in it; experts by their numbers.

    Args:
        named: `names_of`.
    """
    stacks: dict[str, list[str]] = {}
    for name, written in named.items():
        stacks.setdefault(written, []).append(name)
    return {written: sorted(names, key=_expert) for written, names in stacks.items()}


def is_stack(written: str) -> bool:
    """Whether a tensor of a file has a matrix of every expert."""
    return _STACK.search(written) is not None


def named_on_disk(config: Mapping[str, Any], written: str) -> str:
    """What `names_of` calls so, as the files of most families have it; `*` stands for an expert's number.

    Raises:
        KeyError: where it calls nothing so.
    """
    layers = {**_LAYERS, **family_of(config).layers}
    module, _, leaf = written.rpartition(".")
    if (block := _BLOCK.fullmatch(module)) is None:
        name = {there: ours for ours, there in _OUTSIDE.items()}[module]
        return f"{name}.{leaf}" if module == _HEAD else f"model.{name}.{leaf}"
    # The last one counts: a family's own names take the place of others.
    name = {there: ours for ours, there in layers.items()}[block[2]]
    return f"model.layers.{block[1]}.{name}.{leaf}"


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
        SourceError: where a tensor has no name in such a file.
    """
    named = names_of(config, shapes)
    experts = family_of(config).experts
    mix = Mix(
        file_type=file_type,
        blocks=config["num_hidden_layers"],
        tied=bool(config.get("tie_word_embeddings")) or OUTPUT not in named.values(),
        shares_values=shares_values(config),
        experts=(experts.count(config) if experts else None) or 0,
    )
    left = frozenset(kept)
    return {
        name: mix.tensor_type(written, shapes[name][-1])
        for name, written in named.items()
        if len(shapes[name]) == 2 and name not in left and not is_router(written)
    }


def _expert(name: str) -> int:
    found = _EXPERT.search(name)
    return int(found[0]) if found else 0
