"""Which settings each linear layer of a model gets: patterns on full module names."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import get_family
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.formats import Format, Traits, resolve_format
from quantize_lib.methods import GroupSize, Settings


def traits_of(architecture: Architecture) -> Traits:
    """What of a model decides which formats can hold it.

    Raises:
        SourceError: where the model is not supported.
    """
    family = get_family(architecture.config)
    return Traits(model_type=str(architecture.config["model_type"]), conv1d=family.conv1d)


def format_of(architecture: Architecture, settings: Settings) -> Format:
    """The format in which a cell of this model is stored.

    Raises:
        UsageError: where the one that was asked for cannot hold the model.
    """
    return resolve_format(settings, traits_of(architecture))


def assign(architecture: Architecture, settings: Settings) -> list[tuple[LayerInfo, int, GroupSize]]:
    """The layers that a cell quantizes, with their bits and group size.

    Layers that match `modules_to_not_convert`, or that the format's loader cannot replace, are left out. Of
    several overrides that match, the first counts, as in GPTQModel's and vLLM's `dynamic`. A `*` matches dots
    too.

    Returns:
        (layer, bits, group size as the settings say it) in the model's order.
    """
    traits = traits_of(architecture)
    chosen = resolve_format(settings, traits)
    assigned: list[tuple[LayerInfo, int, GroupSize]] = []
    for layer in architecture.layers:
        if chosen.leaves(traits, layer.name):
            continue
        if any(fnmatchcase(layer.name, pattern) for pattern in settings.modules_to_not_convert):
            continue
        bits, group_size = settings.bits, settings.group_size
        override = settings.override_of(layer.name)
        if override is not None:
            bits = override.bits if override.bits is not None else bits
            group_size = override.group_size if override.group_size is not None else group_size
        assigned.append((layer, bits, group_size))
    return assigned


def left_out(architecture: Architecture, settings: Settings) -> list[str]:
    """A word, if any, on the layers that the format cannot hold for this family."""
    traits = traits_of(architecture)
    chosen = resolve_format(settings, traits)
    names = dict.fromkeys(
        ".".join(part for part in layer.name.split(".") if not part.isdecimal())
        for layer in architecture.layers
        if chosen.leaves(traits, layer.name)
    )
    if not names:
        return []
    return [f"{', '.join(names)} stay in full precision: transformers cannot load them in this format"]


def on_disk(layer: LayerInfo, tensors: Mapping[str, TensorInfo]) -> TensorInfo:
    """The layer's weight; a checkpoint may lack the base model's prefix, the first part of the name."""
    name = f"{layer.name}.weight"
    return tensors[name] if name in tensors else tensors[name.partition(".")[2]]
