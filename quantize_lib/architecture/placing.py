"""Which tensors of a model's files its class loads; what is missing, and what has no place in it.

transformers leaves out what the class does not know and makes up what the files do not hold, with a line in
its log. Here every tensor is accounted for, from config and headers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.class_tensors import ClassTensor
from quantize_lib.architecture.families import TIED, is_tied, named
from quantize_lib.architecture.language_model import text_config
from quantize_lib.architecture.matrices import find_matrices
from quantize_lib.architecture.places import Held, Places, Shape
from quantize_lib.architecture.strays import sort_strays, to_copy
from quantize_lib.architecture.structure import Structure, find_structure, lists_of_blocks
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.architecture.walk import check_walk
from quantize_lib.errors import SourceError
from quantize_lib.tasks import task_of

WEIGHT_DTYPES = ("F32", "F16", "BF16")
MISMATCH = "The safetensors files do not belong to this config.json."


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A model's tensors in their places.

    Attributes:
        tensors: those that the class loads, by the name on disk.
        structure: their blocks and layers.
        notes, strays, copied: as those of `Architecture`.
    """

    tensors: Mapping[str, TensorInfo]
    structure: Structure
    notes: tuple[str, ...]
    strays: tuple[str, ...]
    copied: tuple[TensorInfo, ...] = ()


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
    task = task_of(config)
    if not task.continues:
        return Placed(
            tensors=weights.tensors,
            structure=find_matrices(config, weights.tensors),
            notes=(*weights.notes, f"it is {task.words} and continues no text: it has no perplexity"),
            strays=(),
        )
    facts = class_facts.of(config)
    if facts is None:
        structure = _structure(config, weights.tensors)
        return Placed(tensors=weights.tensors, structure=structure, notes=weights.notes, strays=())
    places = Places(facts, config)
    held = places.hold(weights.tensors)
    missing = dict(places.missing(held))
    tied = is_tied(config)
    embedding, head = places.embedding_in(held), places.head_in(held)
    if embedding is None and places.embedding is not None and not (tied and head is not None):
        missing = {places.embedding.name: places.embedding, **missing}
    if head is None and places.head is not None and not tied:
        missing[places.head.name] = places.head
    _check_index(places, weights, missing.keys())
    matrices = {name: one for name, one in missing.items() if one.is_matrix and one is not places.head}
    _check(places, held, matrices, only_matrices=True)
    if own_class:
        structure = _structure(config, weights.tensors)
        return Placed(tensors=weights.tensors, structure=structure, notes=weights.notes, strays=())
    if held.twice is not None:
        one, two, name = held.twice
        raise SourceError(
            f"{two.file}: {one.name} and {two.name} are both {name} to transformers",
            hint="Remove the one that is not meant.",
        )
    loaded = held.names()
    strays = [info for name, info in weights.tensors.items() if name not in loaded]
    notes = [*weights.notes, *sort_strays(config, held.by_name, strays)]
    notes += open_question(config, weights.tensors)
    if head is None and places.head is not None and not tied:
        raise _no_head(config, places)
    _check(places, held, missing, only_matrices=False)
    return Placed(
        tensors={name: info for name, info in weights.tensors.items() if name in loaded},
        structure=_structure(config, held.by_name),
        notes=tuple(notes),
        strays=tuple(info.name for info in strays),
        copied=tuple(to_copy(config, held.by_name, strays)),
    )


def _check(places: Places, held: Held, missing: Mapping[str, ClassTensor], *, only_matrices: bool) -> None:
    """See that every tensor is there, of its shape and in full precision.

    Raises:
        SourceError: where one is not.
    """
    for name, tensor in missing.items():
        shape = places.shape(tensor)
        said = f" (shape {list(shape)})" if shape is not None and None not in shape else ""
        raise SourceError(f"the base model has no tensor {name}{said}", hint=MISMATCH)
    for name, there in held.by_place.items():
        tensor = places.tensors[name]
        if tensor.is_matrix or not only_matrices:
            shape = places.shape(tensor)
            for indexes, info in there.items():
                _check_tensor(info, None if len(indexes) < name.count("*") else shape, whole=tensor.whole)


def _check_tensor(info: TensorInfo, shape: Shape | None, *, whole: bool) -> None:
    if shape is not None:
        alike = len(shape) == len(info.shape)
        asked = [
            found if said is None else said
            for said, found in zip(shape, info.shape if alike else shape, strict=True)
        ]
        if asked != list(info.shape):
            raise SourceError(
                f"{info.file}: tensor {info.name} has the shape {list(info.shape)}, config.json asks for "
                f"{['?' if said is None else said for said in asked]}",
                hint=MISMATCH,
            )
    if info.dtype not in WEIGHT_DTYPES and not whole:
        raise SourceError(
            f"{info.file}: tensor {info.name} is {info.dtype}; quantizing starts from "
            f"{', '.join(WEIGHT_DTYPES)}",
            hint="Name the full-precision model that it was made from.",
        )


def _structure(config: Mapping[str, Any], held: Mapping[str, TensorInfo]) -> Structure:
    """Blocks and layers, by the names that the model has.

    Raises:
        SourceError: where there are none, or where they cannot be taken one by one.
    """
    structure = find_structure(config, held)
    if not structure.layers:
        raise SourceError(
            f"{named(config)} has no linear layers in numbered blocks: there is nothing to quantize",
            hint="Name a causal language model.",
        )
    model_type = text_config(config).get("model_type")
    check_walk(named(config), model_type, structure.blocks, lists_of_blocks(held))
    return structure


def stored_apart(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]
) -> tuple[TensorInfo, TensorInfo] | None:
    """Embedding and head of a tied model whose files hold both; None of every other model.

    transformers compares the two: where they are equal they are tied, else both are kept.
    """
    facts = class_facts.of(config)
    if facts is None or not is_tied(config):
        return None
    places = Places(facts, config)
    held = places.hold(tensors)
    embedding, head = places.embedding_in(held), places.head_in(held)
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


def _check_index(places: Places, weights: Weights, missing: Set[str]) -> None:
    for name, file in weights.absent.items():
        place = places.find(name)
        if place is not None and place.name in missing:
            if file in weights.missing:
                raise SourceError(
                    f"{weights.index} names {file}, which is not there, and the model needs its {name}",
                    hint="The model is incomplete: fetch it again, or choose another revision.",
                )
            raise SourceError(
                f"{weights.index} says that {file} holds the tensor {name}, but no shard does",
                hint="The index and the shards do not belong together; fetch the base model again.",
            )


def _no_head(config: Mapping[str, Any], places: Places) -> SourceError:
    said = (
        f"config.json says {TIED}: false"
        if TIED in config
        else f"config.json does not say {TIED}, and a {config['model_type']} is not tied without it"
    )
    embedding = places.embedding.name if places.embedding is not None else "the embedding"
    return SourceError(
        f"the base model has no tensor {places.facts.head}, and {said}: transformers would make up a random "
        "head",
        hint=f"Say {TIED}: true in config.json if the head is {embedding}; else fetch the base model again.",
    )
