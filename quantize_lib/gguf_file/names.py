"""What llama.cpp calls a model's tensors, and which type each gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.families import family_of, shares_values
from quantize_lib.gguf_file.mix import OUTPUT, Mix


def names_of(config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, str]:
    """Names in the file by names on disk, in the order in which they are stored.

    Args:
        config: the language model's part of `config.json`.

    Raises:
        EngineError: where a tensor has no name in such a file.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = family_of(config).architecture
    number = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture)
    mapped = get_tensor_name_map(number, config["num_hidden_layers"])
    found: dict[str, str] = {}
    for name in tensors:
        written = mapped.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise EngineError(f"the tensor {name} has no name in a GGUF file of {architecture}")
        found[name] = written
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
