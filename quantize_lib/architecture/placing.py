"""Which tensors of a model's files its class loads; what is missing, and what has no place in it.

transformers leaves out what the class does not know and makes up what the files do not hold, with a line in
its log. Here every tensor is accounted for, from config and headers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture.families import TIED, get_family, is_tied
from quantize_lib.architecture.layers import (
    HEAD_WEIGHT,
    by_full_name,
    check_tensor,
    expected_shapes,
    find_layers,
    full_name,
)
from quantize_lib.architecture.strays import sort_strays
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo, Weights
from quantize_lib.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A model's tensors in their places.

    Attributes:
        tensors: those that the class loads, by the name on disk.
        layers: the linear layers inside the decoder blocks, in the model's order.
        notes, strays: as those of `Architecture`.
    """

    tensors: Mapping[str, TensorInfo]
    layers: tuple[LayerInfo, ...]
    notes: tuple[str, ...]
    strays: tuple[str, ...]


def place(config: Mapping[str, Any], weights: Weights, *, own_class: bool = False) -> Placed:
    """Give every tensor its place.

    Args:
        config: `config.json`.
        weights: what the files hold.
        own_class: the model brings its class along as code: what that loads is known where the code is run.

    Raises:
        SourceError: where the model is not supported; where a tensor is missing, of another shape than
            config.json asks for, or not in full precision; where one without a place would change what the
            model computes.
    """
    if own_class:
        layers = find_layers(config, weights.tensors)
        return Placed(tensors=weights.tensors, layers=layers, notes=weights.notes, strays=())
    held = by_full_name(config, weights.tensors)
    tied, known = is_tied(config), expected_shapes(config)
    embedding = f"{get_family(config).embedding}.weight"
    pair = {embedding, HEAD_WEIGHT}
    # Of a tied model's two one is enough, whichever it is.
    either = pair if tied and pair & held.keys() else set()
    _check_index(config, weights, known.keys() - held.keys() - either)
    layers = find_layers(config, weights.tensors)
    loaded = {info.name for info in held.values()}
    strays = [info for name, info in weights.tensors.items() if name not in loaded]
    notes = [*weights.notes, *sort_strays(config, held, strays)]
    notes += open_question(config, weights.tensors)
    if not tied and HEAD_WEIGHT not in held:
        raise _no_head(config, embedding)
    for name, shape in known.items():
        if name in held or name not in either:
            check_tensor(held, name, shape)
    return Placed(
        tensors={name: info for name, info in weights.tensors.items() if name in loaded},
        layers=layers,
        notes=tuple(notes),
        strays=tuple(info.name for info in strays),
    )


def stored_apart(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]
) -> tuple[TensorInfo, TensorInfo] | None:
    """Embedding and head of a tied model whose files hold both; None of every other model.

    transformers compares the two: where they are equal they are tied, else both are kept.
    """
    if not is_tied(config):
        return None
    held = by_full_name(config, tensors)
    embedding, head = held.get(f"{get_family(config).embedding}.weight"), held.get(HEAD_WEIGHT)
    return None if embedding is None or head is None else (embedding, head)


def open_question(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """The note on such a pair before its bytes are read, if there is one; once they are, it is answered."""
    pair = stored_apart(config, tensors)
    if pair is None:
        return ()
    embedding, head = pair
    return (
        f"the config ties the head to the embedding, and {head.name} stands beside {embedding.name} all the "
        "same: the run compares the two and keeps both where they differ, as transformers does",
    )


def difference_note(embedding: TensorInfo, head: TensorInfo) -> str:
    """What is known of a pair whose values differ."""
    return (
        f"{head.name} differs from {embedding.name}, though the config ties the two: both are kept, as "
        f"transformers does, and the checkpoint's config says {TIED}: false"
    )


def _check_index(config: Mapping[str, Any], weights: Weights, missing: Set[str]) -> None:
    family = get_family(config)
    for name, file in weights.absent.items():
        if full_name(family, name, dict.fromkeys(missing)) in missing:
            if file in weights.missing:
                raise SourceError(
                    f"{weights.index} names {file}, which is not there, and the model needs its {name}",
                    hint="The model is incomplete: fetch it again, or choose another revision.",
                )
            raise SourceError(
                f"{weights.index} says that {file} holds the tensor {name}, but no shard does",
                hint="The index and the shards do not belong together; fetch the base model again.",
            )


def _no_head(config: Mapping[str, Any], embedding: str) -> SourceError:
    said = (
        f"config.json says {TIED}: false"
        if TIED in config
        else f"config.json does not say {TIED}, and a {config['model_type']} is not tied without it"
    )
    return SourceError(
        f"the base model has no tensor {HEAD_WEIGHT}, and {said}: transformers would make up a random head",
        hint=f"Say {TIED}: true in config.json if the head is {embedding}; else fetch the base model again.",
    )
