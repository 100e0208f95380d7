"""A type's line in the data file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers.activations import ACT2FN
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, get_model_conversion_mapping
from transformers.core_model_loading import GroupWeightRename, WeightConverter, WeightTransform

from tools.class_facts import builds, configs, learn, models, shapes
from tools.class_facts.builds import Built


def entry(model_type: str) -> dict[str, Any]:
    """What is known of a type that continues text."""
    config, built = builds.build_all(model_type)
    model = models.build(model_type, config)
    text = configs.text_of(config)
    said: dict[str, Any] = {
        "class": type(model).__name__,
        "base": model.base_model_prefix,
        **config_entry(model_type),
        "text": configs.text_key(config),
        "parts": configs.parts(config),
        "tied": bool(getattr(config, "tie_word_embeddings", False)),
        "embedding": _weight_of(model, model.get_input_embeddings()),
        "head": _weight_of(model, model.get_output_embeddings()),
        "even_heads": _has_even_heads(model_type, config),
        "padded": _is_padded(model_type, configs.text_key(config)),
        "derived": shapes.derived(configs.fields(text.model_type), built),
        "varied": learn.is_varied(text.model_type, built),
        "unlearned": learn.has_unlearned(text.model_type, built),
        "lists": learn.counts(built),
        "left_over": sorted(model._keys_to_ignore_on_load_unexpected or ()),
        "beside": _beside([*built, *builds.with_all_parts(model_type)]),
        "renamed": _renamings(get_model_conversion_mapping(model, add_legacy=False)),
        "tensors": _tensors(built),
    }
    return {key: value for key, value in said.items() if value not in ({}, [], "", False)}


def legacy_entry() -> dict[str, Any]:
    """What holds for every type."""
    return {
        "activations": sorted(ACT2FN),
        "renamed": _renamings(get_checkpoint_conversion_mapping("legacy")),
    }


def config_entry(model_type: str) -> dict[str, Any]:
    """What is known of a type's config class."""
    kinds, keys = configs.kinds(model_type), dict[str, dict[str, Any]]()
    for key in configs.activation_keys(model_type):
        kinds[key] = kinds[key].replace("text", "activation")
    for key, default in configs.fields(model_type).items():
        kind = kinds.get(key, "")
        if kind or default is not ...:
            # An empty mapping stands for a default that is none of JSON's single values.
            keys.setdefault(kind, {})[key] = {} if default is ... else default
    names = configs.other_words(model_type)
    return {"keys": dict(sorted(keys.items()))} | ({"names": names} if names else {})


def _has_even_heads(model_type: str, config: Any) -> bool:
    """Whether the class refuses a number of heads that does not divide the hidden size."""
    text = configs.text_of(config)
    hidden, heads, shared = (
        text.attribute_map.get(key, key)
        for key in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    size = configs.value_of(text, hidden)
    if not isinstance(size, int) or configs.value_of(text, heads) is None:
        return False
    uneven = next(number for number in (3, 5, 7, 11) if size % number)
    change = {heads: uneven} | ({shared: uneven} if configs.value_of(text, shared) else {})
    return not builds.is_taken(model_type, change, configs.text_key(config))


def _is_padded(model_type: str, text: str) -> bool:
    """Whether the token embedding takes `pad_token_id` as its padding index."""
    model = models.build(model_type, configs.build_config(model_type, {"pad_token_id": 3}, text))
    return getattr(model.get_input_embeddings(), "padding_idx", None) == 3


def _weight_of(model: Any, module: Any) -> str:
    """The name in memory of a module's weight; "" where there is no such module."""
    return next((f"{name}.weight" for name, one in model.named_modules() if one is module), "")


def _beside(built: list[Built]) -> list[str]:
    """The parts that stand beside the language model, by their names on disk."""
    inside: list[list[str]] = []
    parts: list[list[str]] = []
    for one in built:
        for name, tensor in one.tensors.items():
            (parts if tensor.part else inside).append(name.split("."))
    starts = {
        next(
            (".".join(part[:at]) for at in range(1, len(part)) if not _is_start(part[:at], inside)),
            ".".join(part),
        )
        for part in map(list, {tuple(part) for part in parts})
    }
    return sorted(starts)


def _is_start(start: list[str], names: list[list[str]]) -> bool:
    return any(name[: len(start)] == start for name in names)


def _renamings(transforms: Iterable[WeightTransform]) -> list[list[Any]]:
    """How names on disk become those in memory, in the order in which transformers does it.

    Returns:
        pattern, the name that it becomes, the module under which it holds (null: everywhere), and what its
        number is shifted by. Converters come last, and of these the first that matches is the only one.
    """
    # Groups of names that depend on each other occur in vision parts alone.
    known = [one for one in transforms if not isinstance(one, GroupWeightRename)]
    known.sort(key=lambda one: isinstance(one, WeightConverter))
    return [
        [
            "convert" if isinstance(one, WeightConverter) else "rename",
            one.compiled_sources.pattern,
            one.target_patterns[0],
            one.scope_prefix,
            getattr(one, "offset", 0),
        ]
        for one in known
    ]


def _tensors(built: list[Built]) -> dict[str, Any]:
    """The tensors of the language model: shape and conditions, those of one list of modules together."""
    names = dict.fromkeys(name for one in built for name in one.tensors)
    sizing, together = builds.sizing(built), learn.together(names, built)
    found: dict[str, Any] = {}
    for name in names:
        tensor = next(one.tensors[name] for one in built if name in one.tensors)
        if tensor.part:
            continue
        start = f"{name.partition('.*')[0]}.*." if ".*." in name else ""
        said = [shapes.shape(name, built, sizing) or "-", *learn.conditions(name, built, together)]
        found.setdefault(start, {})[name.removeprefix(start)] = " ".join(said)
    return found
