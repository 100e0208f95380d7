"""What a server needs of a checkpoint: over how many GPUs it splits, by which kernels it is read, and memory.

From config, headers and what was read in the sources of vLLM and SGLang; no server is run here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from quantize_lib.architecture.assignment import assign, format_of
from quantize_lib.architecture.attention import Heads, cache_bytes, heads_of
from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.sharding import heads_fault, shard, unknown_names
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.formats import Format, named_format
from quantize_lib.formats.served import SERVERS, Served
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import is_automatic
from quantize_lib.tasks import task_of
from quantize_lib.wording import joined

MOST_GPUS = 16
CACHED_TOKENS = 1000


@dataclass(frozen=True, kw_only=True)
class Split:
    """A checkpoint over several GPUs.

    Attributes:
        gpus: how many.
        kernels: by which each server multiplies, by the server's name.
    """

    gpus: int
    kernels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a server needs of a checkpoint.

    Attributes:
        cache_bytes: keys and values of `CACHED_TOKENS` tokens in 16 bits; None where the config does not say.
        splits: numbers of GPUs, up to `MOST_GPUS`, over which every layer splits; none where not known.
        unknown: why that is not known; None where it is.
        limits: what does not divide, by the number of GPUs, for powers of two.
    """

    cache_bytes: int | None
    splits: tuple[Split, ...] = ()
    unknown: str | None = None
    limits: Mapping[int, str] = field(default_factory=dict)


def serving(facts: Architecture, settings: Settings, *, group_size: int) -> Serving:
    """What a server needs of a cell's checkpoint.

    Args:
        facts: of the base model.
        settings: of the cell.
        group_size: resolved; -1 for one group per row, and where the method has none.
    """
    cache = cache_bytes(facts.config, CACHED_TOKENS)
    heads = heads_of(facts.config)
    layers = [
        (layer, bits, group_size if wanted == "auto" else wanted)
        for layer, bits, wanted in assign(facts, settings)
    ]
    unknown = _unknown(facts, settings, heads, [layer for layer, *_ in layers])
    if unknown is not None or heads is None:
        return Serving(cache_bytes=cache, unknown=unknown)
    chosen = format_of(facts, settings)
    symmetric = chosen.grid(get_method(settings.method), settings).symmetric
    served = Served(bits=settings.bits, group_size=group_size, symmetric=symmetric)
    splits: list[Split] = []
    limits: dict[int, str] = {}
    for gpus in range(1, MOST_GPUS + 1):
        fault = heads_fault(heads, gpus) or _fault(layers, heads, gpus, chosen)
        if fault is None:
            shards = {one for layer, *_ in layers if (one := shard(layer, heads, gpus)) is not None}
            splits.append(Split(gpus=gpus, kernels=chosen.kernels(shards, served)))
        elif gpus & (gpus - 1) == 0:
            limits[gpus] = fault
    if not any(split.kernels for split in splits):
        nobody = f"neither {' nor '.join(SERVERS)} is known to read it in this format"
        return Serving(cache_bytes=cache, unknown=nobody)
    return Serving(cache_bytes=cache, splits=tuple(splits), limits=limits)


def _unknown(
    facts: Architecture, settings: Settings, heads: Heads | None, layers: list[LayerInfo]
) -> str | None:
    if not task_of(facts.config).continues:
        return "it continues no text"
    if heads is None:
        return "config.json does not say the heads of its attention"
    if is_automatic(settings) and not named_format(settings).kinds:
        return "each layer gets its bits and group size in the run"
    names = unknown_names(layers)
    if names:
        return f"it is not known how {joined(names)} are split"
    return "its matrices lie as (in, out)" if facts.conv1d else None


def _fault(layers: list[tuple[LayerInfo, int, int]], heads: Heads, gpus: int, chosen: Format) -> str | None:
    """What does not divide into so many parts that the format can hold; None where all does."""
    if gpus > 1 and not chosen.splits:
        return "the format"
    for layer, bits, group_size in layers:
        own = shard(layer, heads, gpus)
        name = layer.name.rpartition(".")[2]
        if own is None:
            return f"{name} ({layer.in_features} × {layer.out_features})"
        inputs, outputs = own
        if 0 < group_size < layer.in_features and inputs % group_size:
            return f"groups of {group_size} in {ceil(layer.in_features / gpus)} inputs of {name}"
        misfit = chosen.shard_misfit(inputs, outputs, bits)
        if misfit is not None and gpus > 1:
            return f"{misfit.size} {misfit.side}s of {name}: {misfit.reason}"
    return None
