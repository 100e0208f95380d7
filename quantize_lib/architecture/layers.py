"""The tensors and linear layers of a model from its config, checked against those that its shards hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.families import HEAD, get_family, is_tied, rows, sizes, vocabulary
from quantize_lib.architecture.family import Family, Rows
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.errors import SourceError

WEIGHT_DTYPES = ("F32", "F16", "BF16")
HEAD_WEIGHT = f"{HEAD}.weight"
MISMATCH = "The safetensors files do not belong to this config.json."


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
    held = by_full_name(config, tensors)
    embedding = f"{family.embedding}.weight"
    if embedding not in held and HEAD_WEIGHT in held and is_tied(config):
        # Tied from the other side, as transformers takes it.
        held[embedding] = held[HEAD_WEIGHT]
    check_tensor(held, embedding, embedding_shape(config))
    layers = expected_layers(config)
    for layer in layers:
        check_tensor(held, f"{layer.name}.weight", weight_shape(family, layer))
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


def embedding_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of the token embedding's weight, and of the head's."""
    return vocabulary(config), sizes(get_family(config), config)["embedding"]


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that the model's class loads, by full name; a tied head is among them.

    Raises:
        SourceError: where the model is not supported.
    """
    family = get_family(config)
    size = sizes(family, config)
    shapes = {
        parameter.name: _shape(parameter.shape, config, size)
        for parameter in family.outside
        if parameter.is_there(config, size)
    }
    shapes |= dict.fromkeys((f"{family.embedding}.weight", HEAD_WEIGHT), embedding_shape(config))
    shapes |= {f"{layer.name}.weight": weight_shape(family, layer) for layer in expected_layers(config)}
    inside = [parameter for parameter in family.inside if parameter.is_there(config, size)]
    for block in range(size["blocks"]):
        shapes |= {
            f"{family.blocks}.{block}.{parameter.name}": _shape(parameter.shape, config, size)
            for parameter in inside
        }
    return shapes


def by_full_name(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors that the model's class loads, by the name that they have in it.

    Raises:
        SourceError: where the model is not supported, or two tensors would be loaded as one.
    """
    family = get_family(config)
    known = expected_shapes(config)
    held: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        full = full_name(family, name, known)
        if full not in known:
            continue
        if full in held:
            raise SourceError(
                f"{info.file}: {held[full].name} and {name} are both {full} to transformers",
                hint="Remove the one that is not meant.",
            )
        held[full] = info
    return held


def full_name(family: Family, name: str, known: Mapping[str, object]) -> str:
    """A name on disk as transformers takes it: renamed, and with or without the base model's prefix."""
    for old, new in family.renamed.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
    prefix = family.base_prefix + "."
    if name.startswith(prefix) and name.removeprefix(prefix) in known:
        return name.removeprefix(prefix)
    return prefix + name if prefix + name in known else name


def check_tensor(held: Mapping[str, TensorInfo], name: str, shape: tuple[int, ...]) -> None:
    """See that a tensor is there, of that shape and in full precision.

    Args:
        held: by full name.

    Raises:
        SourceError: where it is not.
    """
    found = held.get(name)
    if found is None:
        raise SourceError(f"the base model has no tensor {name} (shape {list(shape)})", hint=MISMATCH)
    if found.shape != shape:
        raise SourceError(
            f"{found.file}: tensor {found.name} has the shape {list(found.shape)}, "
            f"config.json asks for {list(shape)}",
            hint=MISMATCH,
        )
    if found.dtype not in WEIGHT_DTYPES:
        raise SourceError(
            f"{found.file}: tensor {found.name} is {found.dtype}; quantizing starts from "
            f"{', '.join(WEIGHT_DTYPES)}",
            hint="Name the full-precision model that it was made from.",
        )


def _shape(
    words: tuple[str | Rows, ...], config: Mapping[str, Any], size: Mapping[str, int]
) -> tuple[int, ...]:
    return tuple(rows(config, word) if isinstance(word, Rows) else size[word] for word in words)
