"""Config classes of transformers: the kinds of values that they insist on, and variants of their defaults."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from transformers.activations import ACT2FN
from transformers.configuration_utils import ALLOWED_LAYER_TYPES
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_PROBES: Mapping[str, object] = {
    "bool": True,
    "whole": 2,
    "decimal": 0.5,
    "text": "silu",
    "wholes": [1],
    "decimals": [0.5],
    "texts": ["a"],
    "mapping": {},
    "null": None,
}
"""A value of each kind that config.json can hold."""
_TOGETHER: Mapping[tuple[str, ...], str] = {("whole", "decimal"): "number", ("whole", "wholes"): "ids"}
_BLOCKS = "num_hidden_layers"
_PER_BLOCK = re.compile(
    r"layer_types|_layers$|layers_|pattern|interval|period|indices|_ids$|idxs|per_layer|freq$|dense_replace|step$|every"
)
_OF_ALL_BLOCKS = re.compile(r"^(num_hidden|n|num|encoder|decoder|num_encoder|num_decoder|max_window)_layers$")
_JOINT_VARIANTS = 6
_ANYTHING = len(_PROBES)
_NOT_OURS = {
    *("architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version"),
    *("output_attentions", "output_hidden_states", "return_dict", "chunk_size_feed_forward"),
    *("is_encoder_decoder", "auto_map", "model_type"),
}
"""Of every config: how a model is run or what it is called, not what it is."""

_QWEN4 = {
    **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 256, "indexer_budget": 16},
    **{"indexer_compress_ratio": 4, "ple_layer_ids": [1], "ngram_vocab_size_base": 512},
    **{"split_ngram_parts": 2, "heads_per_ngram": 2, "hc_lowrank": 16, "eos_token_id": 2},
}
SUPPLEMENTS: Mapping[str, Mapping[str, Any]] = {
    # Defaults that do not fit each other, or that only a real model's config.json says.
    "aya_vision": {"vision_config": {"model_type": "siglip_vision_model", "num_attention_heads": 16}},
    "chameleon": {"vocabulary_map": {"<image>": 4}},
    "cohere_compass": {
        "text_config": {
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": 10000.0}
                for kind in ("full_attention", "sliding_attention")
            }
        }
    },
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 2},
    "dots3_note": {"text_config": {"pad_token_id": 0}},
    "emu3": {"vocabulary_map": {"<image>": 4}},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {"text_config": {"head_dim": 128}},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 48},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "reformer": {"is_decoder": True},
}


def fields(model_type: str) -> dict[str, Any]:
    """The keys that a config class has of its own, with their defaults; lists and mappings as `...`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(CONFIG_MAPPING[model_type]):
        if field.name in _NOT_OURS or field.name in sub_configs(model_type):
            continue
        plain = field.default is None or isinstance(field.default, bool | int | float | str)
        found[field.name] = field.default if plain else ...
    return found


def kinds(model_type: str) -> dict[str, str]:
    """The kind of value that the class insists on, by key; not of those that take anything."""
    validators = getattr(CONFIG_MAPPING[model_type], "__validators__", {})
    found: dict[str, str] = {}
    for key in fields(model_type):
        taken = [word for word, value in _PROBES.items() if _takes(validators.get(key, ()), value)]
        if len(taken) == _ANYTHING or not set(taken) - {"null"}:
            continue
        *words, null = taken if taken[-1] == "null" else [*taken, ""]
        named = _TOGETHER.get(tuple(words), " or ".join(words))
        if len(words) <= 2:
            found[key] = f"{named} or null" if null else named
    return found


def activation_keys(model_type: str) -> list[str]:
    """The keys whose default is the name of an activation function."""
    known = kinds(model_type)
    return [
        key
        for key, default in fields(model_type).items()
        if isinstance(default, str) and default in ACT2FN and "text" in known.get(key, "").split(" or ")
        if "act" in key
    ]


def _takes(validators: Any, value: object) -> bool:
    try:
        for validator in validators:
            validator(value)
    except (TypeError, ValueError):
        return False
    return True


def other_words(model_type: str) -> dict[str, str]:
    """Transformers' own words for keys that a config class calls otherwise."""
    return dict(CONFIG_MAPPING[model_type].attribute_map)


def sub_configs(model_type: str) -> dict[str, type]:
    """The classes of the configs inside a config, by key."""
    return dict(getattr(CONFIG_MAPPING[model_type], "sub_configs", None) or {})


def parts(config: Any) -> dict[str, str]:
    """The model types of the configs inside a config, by key."""
    return {
        key: kind
        for key in sub_configs(config.model_type)
        if (kind := getattr(getattr(config, key, None), "model_type", ""))
    }


def text_of(config: Any) -> Any:
    """The language model's config inside a config, or the config itself."""
    return config.get_text_config(decoder=True)


def text_key(config: Any) -> str:
    """The key of the language model's config inside a config; "" where it is the config itself."""
    text = text_of(config)
    return next((key for key in parts(config) if getattr(config, key) is text), "")


def build_config(model_type: str, changes: Mapping[str, Any], text: str = "") -> Any:
    """A config with the class's defaults.

    Args:
        changes: by key, of the language model's config.
        text: the key of that config inside the whole one.
    """
    supplement = dict(SUPPLEMENTS.get(model_type, {}))
    if not text:
        return CONFIG_MAPPING[model_type](**_merged(supplement, changes))
    inner = _merged(supplement.pop(text, {}), changes)
    cls = sub_configs(model_type)[text]
    if cls.__name__ == "AutoConfig":
        inner.setdefault("model_type", getattr(CONFIG_MAPPING[model_type](**supplement), text).model_type)
    return CONFIG_MAPPING[model_type](**{**supplement, text: inner})


def with_part(model_type: str, key: str) -> Any:
    """A config with one of its parts, which is none by default."""
    return CONFIG_MAPPING[model_type](**{**SUPPLEMENTS.get(model_type, {}), key: {}})


def _merged(supplement: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Both, also inside the mappings of one key."""
    inner = {
        key: {**supplement[key], **value}
        for key, value in changes.items()
        if isinstance(value, Mapping) and isinstance(supplement.get(key), Mapping)
    }
    return {**supplement, **changes, **inner}


def value_of(config: Any, key: str) -> Any:
    """A config's value; None where it has none, or each block its own."""
    try:
        return getattr(config, key, None)
    except (AttributeError, RuntimeError):
        return None


def unsaid(model_type: str) -> list[str]:
    """Keys that the model's code asks for and its config class does not have."""
    place = CONFIG_MAPPING[model_type].__module__.replace(".configuration_", ".modeling_")
    if importlib.util.find_spec(place) is None:
        return []
    module = importlib.import_module(place)
    asked = re.findall(r"getattr\(\s*(?:self\.)?config,\s*\"(\w+)\"", inspect.getsource(module))
    known = {*fields(model_type), *_NOT_OURS, *sub_configs(model_type)}
    known |= {*CONFIG_MAPPING[model_type].attribute_map}
    return sorted({key for key in asked if key not in known and not key.startswith("_")})


def variants(text_type: str, base: Any) -> Iterator[dict[str, Any]]:
    """Changes of one key each, of which some change what the class loads.

    Args:
        text_type: the model type of the language model's config.
        base: that config with its defaults.
    """
    known = kinds(text_type)
    for key in fields(text_type):
        kind, value = known.get(key, ""), value_of(base, key)
        words, null, _ = kind.partition(" or null")
        if key.endswith("_token_id") or not kind:
            continue
        if "bool" in words:
            yield {key: not value}
        elif isinstance(value, int) and words in ("whole", "number", "ids"):
            yield from ({key: size} for size in ((value * 2,) if value else (2, 3)))
            # Without blocks there is nothing to see.
            if value > 1 and key != base.attribute_map.get("num_hidden_layers", "num_hidden_layers"):
                yield {key: 0}
                yield {key: value // 2}
        elif value is None and words in ("whole", "ids"):
            yield from ({key: size} for size in (64, 48))
        elif words == "wholes":
            blocks = value_of(base, _BLOCKS) or 0
            yield from ({key: changed} for changed in ([1], [2] * blocks))
            if value:
                yield {key: []}
        elif words == "texts":
            said = value or ["full_attention"] * (value_of(base, _BLOCKS) or 0)
            different = list(dict.fromkeys(said))
            if len(different) > 1:
                yield from ({key: [one] * len(said)} for one in different)
            if "layer" in key:
                yield from ({key: [one, *said[1:]]} for one in ALLOWED_LAYER_TYPES if one not in different)
        if null and value is not None:
            yield {key: None}
    for key, cls in sub_configs(text_type).items():
        # Sizes in there have no words of their own here.
        if dataclasses.is_dataclass(cls) and not getattr(cls, "model_type", ""):
            for field in dataclasses.fields(cls):
                size = value_of(value_of(base, key), field.name)
                if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                    yield {key: {field.name: 2 * size}}
    for key in unsaid(text_type):
        yield from ({key: size} for size in (64, 48))


def per_block_keys(text_type: str) -> list[str]:
    """The keys that may say which block is of which kind."""
    known = kinds(text_type)
    return [
        key
        for key in fields(text_type)
        if known.get(key, "").partition(" or ")[0] in ("texts", "wholes", "decimals")
        or (_PER_BLOCK.search(key) and not _OF_ALL_BLOCKS.search(key))
    ]


def nulls(text_type: str, base: Any) -> dict[str, int]:
    """A size for each whole number that is null."""
    return {
        key: 64
        for key, kind in kinds(text_type).items()
        if kind == "whole or null" and value_of(base, key) is None and not key.endswith("_token_id")
    }


def joint_variants(text_type: str, base: Any) -> Iterator[dict[str, Any]]:
    """Changes of every size at once, each by a factor of its own."""
    sizes = [
        key
        for key, kind in kinds(text_type).items()
        if kind.startswith(("whole", "ids", "number")) and not key.endswith("_token_id")
        if key != base.attribute_map.get("num_hidden_layers", "num_hidden_layers")
        if isinstance(value := value_of(base, key), int) and value > 1
    ]
    hidden, heads = (base.attribute_map.get(key, key) for key in ("hidden_size", "num_attention_heads"))
    for seed in range(_JOINT_VARIANTS):
        source = random.Random(seed)
        change = {key: getattr(base, key) * source.choice((1, 1, 2, 3)) for key in sizes}
        # Numbers of heads have to divide each other.
        for one in (change, {key: getattr(base, key) if "heads" in key else change[key] for key in sizes}):
            if one.get(hidden, 0) % one.get(heads, 1) == 0:
                yield one
