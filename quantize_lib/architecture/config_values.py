"""Values of config.json: what cannot be, what is ours to choose, and what a checkpoint's own file says.

Judged without transformers, so that plan can refuse before anything is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.config_types import ACTIVATION_KEYS, ACTIVATIONS, TYPES
from quantize_lib.architecture.families import get_family, is_causal, sizes, vocabulary
from quantize_lib.errors import SourceError
from quantize_lib.wording import allowed, meant, show

QUANTIZATION_KEYS = ("quantization_config", "compression_config", "quantization")
"""Where config.json says that a model is quantized: transformers, compressed-tensors of old, MLX."""
_ATTENTION_KEYS = ("_attn_implementation", "attn_implementation")
_ATTENTION_ANYWHERE = (None, "eager", "sdpa")
"""What needs neither a package nor a device of its own."""
_OURS = {
    "use_cache": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "torchscript": False,
    "gradient_checkpointing": False,
}
"""How a model is run, not what it is: key → what is taken."""
_DTYPE_KEYS = ("dtype", "torch_dtype")
_DTYPES = (None, "bfloat16", "float16", "float32", "float64", "half", "float", "double")
_NUMBERS = {"whole": (int,), "decimal": (float,), "number": (int, float)}
_ASKED = {
    "bool": "true or false",
    "whole": "a whole number",
    "decimal": "a number with a decimal point",
    "number": "a number",
    "text": "text",
    "ids": "a whole number or a list of them",
    "texts": "a list of texts",
}


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse what transformers cannot build a model of.

    Args:
        config: `config.json` of a supported model.

    Raises:
        SourceError: naming the key, its value and what is allowed.
    """
    for key, kind in TYPES[config["model_type"]].items():
        if key in config and not _fits(config[key], kind):
            word, _, null = kind.partition(" or ")
            raise _bad(key, config[key], _ASKED[word] + (" or null" if null else ""))
    for key in ACTIVATION_KEYS:
        if key in TYPES[config["model_type"]] and config.get(key, ACTIVATIONS[0]) not in ACTIVATIONS:
            raise SourceError(
                f"config.json: {key} is {show(config[key])}, which is no activation function of transformers",
                hint=allowed(ACTIVATIONS) + meant(config[key], ACTIVATIONS),
            )
    _check_padding(config)
    _check_heads(config)
    _check_layer_types(config)


def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json as a model in full precision is computed with: without what is ours to choose."""
    left_out = {*QUANTIZATION_KEYS, *_unusable_attention(config), *_unusable_dtypes(config)}
    left_out |= {key for key, taken in _OURS.items() if config.get(key, taken) != taken}
    return {key: value for key, value in config.items() if key not in left_out}


def written_config(
    config: Mapping[str, Any], *, dtype: str, model_class: str, one_dtype: bool = False
) -> dict[str, Any]:
    """config.json as a checkpoint has it: as users of the base model have it, without what cannot work.

    Args:
        config: the base model's.
        dtype: of the tensors, as PyTorch calls it.
        model_class: as transformers loads it.
        one_dtype: loaders bring some tensors to the dtype that the config says and leave others as they are,
            so it has to be theirs.
    """
    # quantization_config keeps its place: the checkpoint's own will stand there.
    left_out = {*QUANTIZATION_KEYS[1:], *_unusable_attention(config)}
    if config.get("return_dict") is False:
        left_out.add("return_dict")
    kept = {key: value for key, value in config.items() if key not in left_out}
    stated = [key for key in _DTYPE_KEYS if key in config] if one_dtype else _unusable_dtypes(config)
    kept |= dict.fromkeys(stated, dtype)
    return kept if is_causal(config) else {**kept, "architectures": [model_class]}


def value_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be told of values that a checkpoint does not take over."""
    notes = [
        f"config.json asks for the attention {show(config[key])} ({key}), which not every machine has; "
        "it is left to "
        "who loads the checkpoint"
        for key in _unusable_attention(config)
    ]
    notes += [
        f"config.json says {key}: {show(config[key])}, which no weights have; the checkpoint says what "
        "its own are"
        for key in _unusable_dtypes(config)
    ]
    if config.get("return_dict") is False:
        notes.append("config.json says return_dict: false, with which the model does not run; it is left out")
    return tuple(notes)


def _fits(value: object, kind: str) -> bool:
    word, _, null = kind.partition(" or ")
    if value is None:
        return bool(null)
    if word == "bool":
        return isinstance(value, bool)
    if word in _NUMBERS:
        return isinstance(value, _NUMBERS[word]) and not isinstance(value, bool)
    if word == "text":
        return isinstance(value, str)
    if word == "texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return all(_fits(item, "whole") for item in (value if isinstance(value, list) else [value]))


def _check_padding(config: Mapping[str, Any]) -> None:
    rows, pad = vocabulary(config), config.get("pad_token_id")
    # PyTorch counts negative ones from the end.
    if get_family(config).padded and pad is not None and not -rows <= pad < rows:
        raise _bad("pad_token_id", pad, f"0 to {rows - 1} (the vocabulary has {rows} tokens) or null")


def _check_heads(config: Mapping[str, Any]) -> None:
    family = get_family(config)
    size, heads_key = sizes(family, config), family.keys["heads"]
    heads = config[heads_key]
    if family.even_heads and size["hidden"] % heads:
        raise _bad(heads_key, heads, f"a divisor of {family.keys['hidden']} ({size['hidden']})")
    if size["q"] % size["kv"]:
        raise _bad(
            "num_key_value_heads", config.get("num_key_value_heads"), f"a divisor of {heads_key} ({heads})"
        )


def _check_layer_types(config: Mapping[str, Any]) -> None:
    family = get_family(config)
    key, types = family.keys["blocks"], config.get("layer_types")
    if types is None:
        return
    if not _fits(types, "texts"):
        raise _bad("layer_types", types, _ASKED["texts"])
    if len(types) != config[key]:
        raise SourceError(
            f"config.json: layer_types has {len(types)} entries, but {key} says {config[key]} blocks",
            hint="Each block has one type.",
        )


def _unusable_attention(config: Mapping[str, Any]) -> list[str]:
    return [key for key in _ATTENTION_KEYS if config.get(key) not in _ATTENTION_ANYWHERE]


def _unusable_dtypes(config: Mapping[str, Any]) -> list[str]:
    return [key for key in _DTYPE_KEYS if config.get(key) not in _DTYPES]


def _bad(key: str, value: object, needed: str) -> SourceError:
    # What looks like a number may be text.
    shown = f"the text {show(value)}" if isinstance(value, str) else show(value)
    return SourceError(
        f"config.json: {key} is {shown}; {needed} is needed",
        hint="Correct config.json of the base model.",
    )
