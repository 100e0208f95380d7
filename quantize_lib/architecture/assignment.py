"""Which settings each linear layer of a model gets: patterns on full module names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import prod

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.language_model import text_config
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.formats import Format, Traits, WholeModel, resolve_format
from quantize_lib.methods import GroupSize, Settings

_SIXTEEN_BITS = ("BF16", "F16")


def traits_of(architecture: Architecture, settings: Settings) -> Traits:
    """What of a model decides which formats can hold a cell of it."""
    layers = [layer for layer in architecture.layers if not _is_kept(layer, settings)]
    experts = [layer for layer in layers if layer.of_expert]
    kept = _kept_weights(architecture)
    return Traits(
        model_type=str(text_config(architecture.config).get("model_type")),
        conv1d=architecture.conv1d,
        experts=architecture.experts,
        sizes=frozenset((layer.in_features, layer.out_features) for layer in layers),
        fused_experts=any(layer.expert is not None for layer in layers),
        expert_share=_weights(experts) / max(_weights(layers), 1),
        kept_share=kept / max(kept + _weights(architecture.layers), 1),
        sixteen_bits=any(
            architecture.tensors[layer.tensor].dtype in _SIXTEEN_BITS
            for layer in layers
            if layer.tensor in architecture.tensors
        ),
        numbered=any(layer.name.rpartition(".")[2].isdecimal() for layer in layers),
        part=text_config(architecture.config) is not architecture.config,
        config=class_facts.completed(text_config(architecture.config)),
    )


def format_of(architecture: Architecture, settings: Settings) -> Format:
    """The format in which a cell of this model is stored.

    Raises:
        UsageError: where the one that was asked for cannot hold the model.
    """
    return resolve_format(settings, traits_of(architecture, settings))


def assign(architecture: Architecture, settings: Settings) -> list[tuple[LayerInfo, int, GroupSize]]:
    """The layers that a cell quantizes, with their bits and group size.

    Layers that match `modules_to_not_convert`, or that the format's loader cannot replace, are left out. Of
    several overrides that match, the first counts, as in GPTQModel's and vLLM's `dynamic`. A `*` matches dots
    too.

    Returns:
        (layer, bits, group size as the settings say it) in the model's order.
    """
    traits = traits_of(architecture, settings)
    chosen = resolve_format(settings, traits)
    assigned: list[tuple[LayerInfo, int, GroupSize]] = []
    for layer in architecture.layers:
        if _is_kept(layer, settings) or chosen.leaves(traits, layer, settings.bits) is not None:
            continue
        bits, group_size = settings.bits, settings.group_size
        override = settings.override_of(layer.name)
        if override is not None:
            bits = override.bits if override.bits is not None else bits
            group_size = override.group_size if override.group_size is not None else group_size
        assigned.append((layer, bits, group_size))
    return assigned


def stored_types(architecture: Architecture, settings: Settings) -> Mapping[str, str]:
    """What a cell's format calls the type of each tensor that it does not store as it is, by name on disk;
    empty for a format that has no types.

    Raises:
        UsageError: where the format that was asked for cannot hold the model.
        SourceError: where no format can, or one of its tensors has no place in it.
    """
    whole = whole_model(architecture, settings)
    return format_of(architecture, settings).types(whole, settings)


def whole_model(architecture: Architecture, settings: Settings) -> WholeModel:
    """A model as a format sees it that stores all of it in its own way."""
    kept = {layer.tensor for layer in architecture.layers if _is_kept(layer, settings)}
    return WholeModel(
        config=class_facts.completed(text_config(architecture.config)),
        shapes={name: info.shape for name, info in architecture.tensors.items()},
        kept=frozenset({*kept, *architecture.kept}),
        dtypes={name: info.dtype for name, info in architecture.tensors.items()},
    )


def _is_kept(layer: LayerInfo, settings: Settings) -> bool:
    return any(fnmatchcase(layer.name, pattern) for pattern in settings.modules_to_not_convert)


def left_out(architecture: Architecture, settings: Settings) -> list[str]:
    """A word for each reason why the format cannot hold some layers."""
    traits = traits_of(architecture, settings)
    chosen = resolve_format(settings, traits)
    names: dict[str, dict[str, None]] = {}
    left: list[LayerInfo] = []
    for layer in architecture.layers:
        reason = None if _is_kept(layer, settings) else chosen.leaves(traits, layer, settings.bits)
        if reason is not None:
            left.append(layer)
            names.setdefault(reason, {})[_without_numbers(layer.name)] = None
    words = [f"{', '.join(found)} stay in full precision: {reason}" for reason, found in names.items()]
    kept = _kept_weights(architecture) if traits.mostly_kept else 0
    if kept or any(layer.of_expert for layer in left):
        share = (_weights(left) + kept) / (_weights(architecture.layers) + kept)
        of = "blocks'" if kept else "linear layers'"
        words.append(f"{share:.0%} of the {of} weights are in full precision")
    return words


def _without_numbers(name: str) -> str:
    return ".".join(part for part in name.split(".") if not part.isdecimal())


def _kept_weights(architecture: Architecture) -> int:
    return sum(prod(architecture.tensors[name].shape) for name in architecture.kept)


def _weights(layers: Iterable[LayerInfo]) -> int:
    return sum(layer.in_features * layer.out_features for layer in layers)
