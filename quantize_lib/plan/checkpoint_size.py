"""How large a checkpoint's weights will be, tensor by tensor as the formats lay them out."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil, prod

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.formats import Format
from quantize_lib.methods.settings import Settings
from quantize_lib.source.headers import DTYPE_BITS

HEADER_BYTES = 120
"""Of a tensor in a file's header."""


def kept_bytes(facts: Architecture, quantized: Collection[LayerInfo]) -> int:
    """The bytes of all tensors that stay what they are.

    Args:
        quantized: the layers that do not.
    """
    replaced = {layer.tensor for layer in quantized}
    kept = [info for name, info in facts.tensors.items() if name not in replaced]
    kept += facts.copied
    return sum(tensor_bytes(info) for info in kept) + len(kept) * HEADER_BYTES


def layer_bytes(layer: LayerInfo, bits: int, size: int, *, chosen: Format, settings: Settings) -> int:
    """The bytes of a quantized layer, with its part of the header.

    Args:
        size: inputs in a group; -1 for one group for each output.
    """
    groups = 1 if size == -1 else ceil(layer.in_features / size)
    count, tensors = chosen.layer_bytes(
        layer.in_features, layer.out_features, bits=bits, groups=groups, settings=settings
    )
    return ceil(count) + tensors * HEADER_BYTES


def layer_tensors(layer: LayerInfo, chosen: Format, settings: Settings) -> int:
    """How many tensors hold a quantized layer."""
    _, tensors = chosen.layer_bytes(
        layer.in_features, layer.out_features, bits=settings.bits, groups=1, settings=settings
    )
    return tensors


def tensor_bytes(info: TensorInfo) -> int:
    """The bytes of a tensor in the dtype that it has on disk."""
    return prod(info.shape) * DTYPE_BITS[info.dtype] // 8
