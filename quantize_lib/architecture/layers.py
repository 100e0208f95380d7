"""The linear layers of a model from its config, checked against the tensors that its shards hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.families import Family, get_family, sizes, vocabulary
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.errors import SourceError

WEIGHT_DTYPES = ("F32", "F16", "BF16")


def find_layers(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> tuple[LayerInfo, ...]:
    """The linear layers inside the decoder blocks, in the model's order, by full module name.

    Args:
        config: `config.json`.
        tensors: what the safetensors headers say, by the name on disk.

    Raises:
        SourceError: where the model is not supported, or a tensor is missing, of another shape than
            config.json asks for, or not in full precision.
    """
    family = get_family(config)
    size = sizes(family, config)
    _check(tensors, family, family.embedding, (vocabulary(config), size["embedding"]))
    layers = expected_layers(config)
    for layer in layers:
        _check(tensors, family, layer.name, weight_shape(family, layer))
    beyond = f"{family.blocks}.{size['blocks']}."
    extra = next((name for name in tensors if _full_name(family, name).startswith(beyond)), None)
    if extra is not None:
        raise SourceError(
            f"{tensors[extra].file} holds {extra}, but config.json says {size['blocks']} blocks",
            hint=_MISMATCH,
        )
    return layers


def expected_layers(config: Mapping[str, Any]) -> tuple[LayerInfo, ...]:
    """As `find_layers`, from the config alone.

    Raises:
        SourceError: where the model is not supported.
    """
    family = get_family(config)
    size = sizes(family, config)
    return tuple(
        LayerInfo(
            name=f"{family.blocks}.{block}.{relative}",
            in_features=size[inputs],
            out_features=size[outputs],
        )
        for block in range(size["blocks"])
        for relative, (inputs, outputs) in family.layers.items()
    )


def weight_shape(family: Family, layer: LayerInfo) -> tuple[int, ...]:
    """The shape of a layer's weight on disk."""
    shape = (layer.out_features, layer.in_features)
    return shape[::-1] if family.conv1d else shape


_MISMATCH = "The safetensors files do not belong to this config.json."


def _full_name(family: Family, name: str) -> str:
    """A name on disk as transformers names it: the base model's prefix may be missing."""
    prefix = family.base_prefix + "."
    return name if name.startswith(prefix) else prefix + name


def _check(tensors: Mapping[str, TensorInfo], family: Family, module: str, shape: tuple[int, ...]) -> None:
    name = f"{module}.weight"
    found = tensors.get(name) or tensors.get(name.removeprefix(family.base_prefix + "."))
    if found is None:
        raise SourceError(f"the base model has no tensor {name} (shape {list(shape)})", hint=_MISMATCH)
    if found.shape != shape:
        raise SourceError(
            f"{found.file}: tensor {found.name} has the shape {list(found.shape)}, "
            f"config.json asks for {list(shape)}",
            hint=_MISMATCH,
        )
    if found.dtype not in WEIGHT_DTYPES:
        raise SourceError(
            f"{found.file}: tensor {found.name} is {found.dtype}; quantizing starts from "
            f"{', '.join(WEIGHT_DTYPES)}",
            hint="Name the full-precision model that it was made from.",
        )
