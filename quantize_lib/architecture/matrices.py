"""The linear layers of a model that continues no text, as far as its headers tell: for what it will cost.

The class of such a model says which of them are quantized, where it is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.families import named
from quantize_lib.architecture.language_model import expert_count
from quantize_lib.architecture.structure import Structure
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.errors import SourceError

_IN_A_LIST = re.compile(r"\.\d+\.")
_TABLE = re.compile(r"embed|position|attention_bias")
"""In the names of tables that are looked up by number, inside a block too."""


def find_matrices(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Structure:
    """The matrices under numbers, in all lists of blocks.

    Raises:
        SourceError: where there are none, or it is a mixture of experts.
    """
    if expert_count(config):
        raise SourceError(
            f"{named(config)} is a mixture of experts, which can be quantized only as a causal language "
            "model",
            hint="Name a dense model, or a causal language model.",
        )
    layers = tuple(
        LayerInfo(
            name=name.removesuffix(".weight"),
            in_features=info.shape[1],
            out_features=info.shape[0],
            tensor=name,
        )
        for name, info in tensors.items()
        if name.endswith(".weight")
        and len(info.shape) == 2
        and _IN_A_LIST.search(name)
        and not _TABLE.search(name)
    )
    if not layers:
        raise SourceError(
            f"{named(config)} has no linear layers in numbered blocks: there is nothing to quantize",
            hint="Name a model of transformers that has some.",
        )
    return Structure(blocks="", count=0, layers=layers, kept={}, conv1d=False, experts=False)
