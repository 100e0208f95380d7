"""Pickled weights, for models that say `allow_pickle`: what is known of them without reading them.

A pickle can run code while it is read, so only the process that quantizes does that, in a container
(`run/unpickle.py`). Until then names and shapes are what config.json says they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.families import is_tied
from quantize_lib.architecture.places import Places
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.source.headers import parse_index
from quantize_lib.source.model_files import stated_dtype

PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"

_SHARD_NAME = re.compile(r"pytorch_model[A-Za-z0-9._-]*\.bin")


def has_pickled(names: Collection[str]) -> bool:
    """Whether the files hold pickled weights as transformers names them; others cannot be read."""
    return PICKLED in names or PICKLED_INDEX in names


def is_pickled(file: str) -> bool:
    """Whether a tensor's file is a pickle."""
    return _SHARD_NAME.fullmatch(file) is not None


def parse_pickled_index(data: bytes) -> dict[str, str]:
    """Tensor name → shard, from `pytorch_model.bin.index.json`.

    Raises:
        SourceError: as `headers.parse_index`.
    """
    return parse_index(data, file=PICKLED_INDEX, shard_name=_SHARD_NAME, kind="pytorch_model*.bin")


def assumed_weights(config: Mapping[str, Any], weight_map: Mapping[str, str] | None = None) -> Weights:
    """The tensors that a model should have, in the files that should hold them.

    They serve estimates, and say which files belong to the model. The names of an index are real, but files
    may hold more than it lists; what the model's class does not load has no known shape, and is small.

    Args:
        config: `config.json`.
        weight_map: from the index; None where `pytorch_model.bin` holds everything.

    Raises:
        SourceError: where the model is not supported.
    """
    facts = class_facts.of(config)
    if facts is None:
        raise SourceError(
            f"the shapes of a {config['model_type']}'s pickled weights are not known before they are read",
            hint="Name a revision with safetensors.",
        )
    places = Places(facts, config)
    shapes = places.expected()
    dtype = stated_dtype(config) or "F32"
    held = dict(weight_map or {})
    files = tuple(sorted(set(held.values()))) or (PICKLED,)
    named = {_full(places, name) for name in held}
    if is_tied(config) and places.embedding is not None and places.head is not None:
        # One of the two is enough, whichever it is.
        named.add(places.embedding.name if places.head.name in named else places.head.name)
    held |= {name: files[0] for name in shapes if name not in named}
    tensors = {
        name: TensorInfo(name=name, dtype=dtype, shape=shapes.get(_full(places, name), ()), file=file)
        for name, file in held.items()
    }
    return Weights(tensors=tensors, files=files)


def _full(places: Places, name: str) -> str:
    """A name on disk with the base model's prefix."""
    place = places.find(name)
    return name if place is None else place.name
