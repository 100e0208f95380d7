"""How servers split the linear layers of a block over several GPUs (tensor parallelism).

A layer whose outputs are split (`q_proj`) is followed by one whose inputs are (`o_proj`), so that what the
GPUs give is added up once. Which of the two a layer is, its name says in the classes that are served.
"""

from __future__ import annotations

from collections.abc import Iterable

from quantize_lib.architecture.attention import Heads
from quantize_lib.architecture.tensors import LayerInfo

_BY_OUTPUTS = frozenset(
    {
        *("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv"),
        *("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1", "c_fc", "dense_h_to_4h", "fc_in"),
    }
)
_BY_INPUTS = frozenset(
    {"o_proj", "out_proj", "down_proj", "w2", "fc2", "c_proj", "dense_4h_to_h", "fc_out", "dense"}
)
_OF_ALL = frozenset({"qkv_proj", "query_key_value", "c_attn", "Wqkv"})
"""Queries, keys and values in one matrix."""
_OF_KEYS = frozenset({"k_proj", "v_proj"})


def unknown_names(layers: Iterable[LayerInfo]) -> list[str]:
    """The last parts of layers' names by which it is not known how they are split, each once."""
    found = dict.fromkeys(_leaf(layer) for layer in layers)
    return [name for name in found if name not in _BY_OUTPUTS | _BY_INPUTS]


def heads_fault(heads: Heads, parts: int) -> str | None:
    """Why attention cannot be split over so many GPUs; None where it can.

    Keys and values of one head may be on several GPUs.
    """
    if heads.query % parts:
        return f"{heads.query} heads"
    if heads.key_value % parts and parts % heads.key_value:
        return f"{heads.key_value} key-value heads"
    return None


def shard(layer: LayerInfo, heads: Heads, parts: int) -> tuple[int, int] | None:
    """Inputs and outputs of a GPU's part of a layer; None where it has no equal parts.

    Args:
        layer: one whose name is known, of attention that can be split so.
    """
    name = _leaf(layer)
    if name in _BY_INPUTS:
        inputs, rest = divmod(layer.in_features, parts)
        return None if rest else (inputs, layer.out_features)
    if name in _OF_ALL:
        of_all = (heads.query + 2 * heads.key_value) * heads.size
        if layer.out_features != of_all:
            # A head in another layout than theirs.
            return None if parts > 1 else (layer.in_features, layer.out_features)
        own = heads.query // parts + 2 * max(1, heads.key_value // parts)
        return layer.in_features, own * heads.size
    outputs, rest = divmod(layer.out_features, min(parts, heads.key_value) if name in _OF_KEYS else parts)
    return None if rest else (layer.in_features, outputs)


def _leaf(layer: LayerInfo) -> str:
    return layer.name.rpartition(".")[2]
