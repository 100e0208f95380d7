"""Which settings each linear layer of a model gets: patterns on full module names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.methods.settings import GroupSize, Settings


def assign(layers: Iterable[LayerInfo], settings: Settings) -> list[tuple[LayerInfo, int, GroupSize]]:
    """The layers that a cell quantizes, with their bits and group size.

    Layers that match `modules_to_not_convert`, or that the method is not for, are left out. Of several
    overrides that match, the first counts, as in GPTQModel's and vLLM's `dynamic`. A `*` matches dots too.

    Returns:
        (layer, bits, group size as the settings say it) in the order of `layers`.
    """
    assigned: list[tuple[LayerInfo, int, GroupSize]] = []
    for layer in layers:
        if settings.method in layer.not_for:
            continue
        if any(fnmatchcase(layer.name, pattern) for pattern in settings.modules_to_not_convert):
            continue
        bits, group_size = settings.bits, settings.group_size
        override = next((o for o in settings.overrides if fnmatchcase(layer.name, o.modules)), None)
        if override is not None:
            bits = override.bits if override.bits is not None else bits
            group_size = override.group_size if override.group_size is not None else group_size
        assigned.append((layer, bits, group_size))
    return assigned


def left_out(layers: Iterable[LayerInfo], settings: Settings) -> list[str]:
    """A word, if any, on the layers that the method's format cannot hold for this family."""
    names = dict.fromkeys(
        ".".join(part for part in layer.name.split(".") if not part.isdecimal())
        for layer in layers
        if settings.method in layer.not_for
    )
    if not names:
        return []
    return [f"{', '.join(names)} stay in full precision: transformers cannot load them in this format"]


def on_disk(layer: LayerInfo, tensors: Mapping[str, TensorInfo]) -> TensorInfo:
    """The layer's weight; a checkpoint may lack the base model's prefix, the first part of the name."""
    name = f"{layer.name}.weight"
    return tensors[name] if name in tensors else tensors[name.partition(".")[2]]
