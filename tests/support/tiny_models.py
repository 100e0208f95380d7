"""Tiny random models of every causal and common vision-language type, from transformers' config classes.

Four blocks, so that each kind of block of a hybrid occurs, hidden size 128, 4 experts with top 2, 512 tokens,
and seeded weights of a useful scale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from tests.support.tiny_sizes import (
    NOT_BUILT,
    NOT_IN_PARTS,
    OVERRIDES,
    SMALL,
    SMALL_PARTS,
    TOKENS,
    VARIANTS,
    VISION,
    Words,
)

VOCABULARY = 512
RESERVED = 32
"""Token ids below it stand for images and the like."""
_PLACEHOLDER = re.compile(r"token_(id|index)$")
_PARTS = ("vision", "audio", "vq")
_CAUSAL = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
_IMAGE_TEXT = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def tiny_types() -> list[str]:
    """Every type and variant that can be built, in the order of the alphabet."""
    return sorted({*_CAUSAL, *VISION, *VARIANTS} - set(NOT_BUILT))


def save_tiny(
    name: str,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int | None = None,
    tied: bool | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Path:
    """Write a model's config and weights, and for a vision-language type a file that has to travel along.

    Args:
        name: a type or a variant of one.
        shard_bytes: the largest size of a file; None for one file.
        tied: whether head and embedding are one tensor; None for what is usual with the type.
        sizes: keys of the (text) config with other values than the small ones.
    """
    model = make_tiny(name, seed=seed, tied=tied, sizes=sizes)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder, max_shard_size="50GB" if shard_bytes is None else shard_bytes)
    for file in folder.iterdir():
        # safetensors writes private files; a container's user must be able to read them.
        file.chmod(0o644)
    if is_image_text(name):
        (folder / "preprocessor_config.json").write_text('{"do_normalize": true}\n', encoding="utf-8")
    return folder


def make_tiny(
    name: str, *, seed: int = 0, tied: bool | None = None, sizes: Mapping[str, int] | None = None
) -> Any:
    """The model of a type, in float32, by `save_tiny`'s arguments."""
    classes = _IMAGE_TEXT if is_image_text(name) else _CAUSAL
    model_class = getattr(transformers, classes[VARIANTS.get(name, name)])
    torch.manual_seed(seed)
    model = model_class(tiny_config(name, tied=tied, sizes=sizes)).eval()
    _randomize(model, int(hashlib.sha256(f"{name} {seed}".encode()).hexdigest()[:8], 16))
    model.tie_weights()
    return model


def tiny_config(name: str, *, tied: bool | None = None, sizes: Mapping[str, int] | None = None) -> Any:
    """The config of a type, by `save_tiny`'s arguments."""
    config_class = CONFIG_MAPPING[VARIANTS.get(name, name)]
    words = _shrink(config_class, OVERRIDES.get(name, {}), _small(sizes or {}))
    for owner in (words, words.get("text_config")):
        if tied is not None and owner is not None:
            owner["tie_word_embeddings"] = tied
    return config_class(**words)


def is_image_text(name: str) -> bool:
    """Whether it is an image-text-to-text model."""
    model_type = VARIANTS.get(name, name)
    return model_type in VISION or name == "pixtral" or (model_type in _CAUSAL and model_type in _IMAGE_TEXT)


def _small(sizes: Mapping[str, int]) -> Words:
    return {"is_decoder": True, **_by_key(SMALL), **sizes}


def _by_key(table: Mapping[int, str]) -> dict[str, int]:
    return {key: value for value, keys in table.items() for key in keys.split()}


def _shrink(config_class: Any, override: Words, small: Words) -> dict[str, Any]:
    """A config class's arguments: small sizes where it has the key, and what the override says."""
    nested: Mapping[str, Any] = getattr(config_class, "sub_configs", None) or {}
    own = {key: value for key, value in override.items() if key not in nested or value is None}
    fields = {
        field.name: field.default
        for field in dataclasses.fields(config_class)
        if field.name not in own and field.name not in nested
    }
    placeholder = len(set(TOKENS.values()))
    words: dict[str, Any] = {}
    for key, default in fields.items():
        if key in TOKENS:
            words[key] = TOKENS[key]
        elif type(default) is int and _PLACEHOLDER.search(key):
            words[key], placeholder = placeholder, min(placeholder + 1, RESERVED - 1)
        elif _takes(default, small.get(key)):
            words[key] = small[key]
    if "kv_lora_rank" in fields | own:
        # Latent attention has no groups of heads.
        words["num_key_value_heads"] = words.get("num_attention_heads", 4)
    for key, part_class in nested.items():
        if key not in own:
            words[key] = _nested(config_class, key, part_class, override.get(key, {}), small)
    return words | own


def _takes(default: object, value: object) -> bool:
    """Whether a key whose default is that can have a small value."""
    if value is None or isinstance(default, list | tuple | str):
        return False
    return isinstance(default, bool) == isinstance(value, bool)


def _nested(owner: Any, key: str, part_class: Any, override: Words, small: Words) -> dict[str, Any]:
    if part_class.__name__ == "AutoConfig":
        model_type = override.get("model_type") or getattr(owner(), key).model_type
        part_class = CONFIG_MAPPING[model_type]
    if any(word in key for word in _PARTS):
        small = {name: value for name, value in small.items() if name not in NOT_IN_PARTS}
        small |= _by_key(SMALL_PARTS)
    words = _shrink(part_class, override, small)
    model_type = getattr(part_class, "model_type", "")
    return {**words, "model_type": model_type} if model_type else words


@torch.no_grad()
def _randomize(model: nn.Module, seed: int) -> None:
    """Matrices with a standard deviation of 0.08, everything else its initial value with noise.

    The norm weights of a trained model are not all one, nor its biases zero.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator)

    stored = set(model.state_dict())
    parameters = dict(model.named_parameters())
    for name, tensor in sorted({**parameters, **dict(model.named_buffers())}.items()):
        if name not in stored:
            continue
        if not tensor.is_floating_point():
            if tensor.dim() == 2 and not tensor.any():
                # A table of experts by token.
                tensor.copy_(torch.randint(0, 4, tensor.shape, generator=generator))
            continue
        value = torch.nan_to_num(tensor.float())
        if name not in parameters:
            # The routers' correction biases are buffers.
            value = value + 0.05 * noise(tensor) if "bias" in name else value
        elif tensor.dim() > 1 and value.std() < 0.3 and value.mean().abs() < 0.3:
            value = 0.08 * noise(tensor)
        else:
            value = value.clamp(-20, 20) + 0.1 * noise(tensor)
        tensor.copy_(value)
