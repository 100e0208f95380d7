"""Models of transformers on the meta device, and what they load by the names that lie on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    rename_source_key,
    revert_weight_conversion,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

Shape = tuple[int, ...]
TYPES = tuple(sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}))
"""Every type of which transformers has a class that continues text."""


@dataclass(kw_only=True)
class Loaded:
    """The tensors of a model that have the same name but for the indexes in it.

    Attributes:
        name: of one of them in memory.
        shapes: the different ones.
        indexes: the different first indexes: in lists of blocks, the blocks that have it.
        part: it stands outside the language model and its head.
        whole: it holds whole numbers.
    """

    name: str
    part: bool
    whole: bool
    shapes: set[Shape] = field(default_factory=set)
    indexes: set[str] = field(default_factory=set)


def class_of(model_type: str) -> str:
    """The class that loads a type; of a vision-language type the one with all its parts."""
    return str(
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(model_type)
        or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    )


def build(model_type: str, config: Any) -> Any:
    """The model without weights."""
    with torch.device("meta"):
        return getattr(transformers, class_of(model_type))(config).eval()


def loaded(model: Any) -> dict[str, Loaded]:
    """What a class loads, by the name that `save_pretrained` writes, with `*` for each index.

    Tied copies are left out.
    """
    tied = model.all_tied_weights_keys
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    transforms = get_model_conversion_mapping(model, add_legacy=False)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    listed, fixed = _indexes(model)
    language = _language_model(model)
    found: dict[str, Loaded] = {}
    for disk, tensor in revert_weight_conversion(model, state).items():
        name, _ = rename_source_key(disk, renamings, converters)
        if name not in state:
            name, _ = rename_source_key(disk, renamings, converters, model.base_model_prefix, state)
        pattern, indexes = _starred(disk, listed, fixed)
        part = bool(language) and not name.startswith((f"{language}.", "lm_head."))
        one = found.setdefault(pattern, Loaded(name=name, part=part, whole=not tensor.is_floating_point()))
        one.shapes.add(tuple(tensor.shape))
        one.indexes.add(indexes[0] if indexes else "")
    return found


def _language_model(model: Any) -> str:
    """The module that computes text, where the model has others beside it."""
    text = model.config.get_text_config(decoder=True)
    if text is model.config:
        return ""
    for name, module in model.named_modules():
        if name and getattr(module, "config", None) is text and list(module.children()):
            return str(name)
    return ""


def _indexes(model: nn.Module) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(name, index) of the members of lists, and of those of sequences, whose indexes mean something."""
    listed: set[tuple[str, str]] = set()
    fixed: set[tuple[str, str]] = set()
    for name, module in model.named_modules():
        where = fixed if isinstance(module, nn.Sequential) else listed
        if isinstance(module, nn.Sequential | nn.ModuleList | nn.ParameterList):
            members = [*dict(module.named_children()), *dict(module.named_parameters(recurse=False))]
            where.update((name.rpartition(".")[2], index) for index in members)
    return listed, fixed


def _starred(
    name: str, listed: Iterable[tuple[str, str]], fixed: Iterable[tuple[str, str]]
) -> tuple[str, list[str]]:
    """A name with `*` for each index, and the indexes."""
    parts, indexes = name.split("."), []
    for at in range(1, len(parts)):
        key = (parts[at - 1], parts[at])
        if parts[at].isdecimal() and (key in listed or key not in fixed):
            indexes.append(parts[at])
            parts[at] = "*"
    return ".".join(parts), indexes


def lengths(tensors: Mapping[str, Loaded]) -> dict[str, int]:
    """How many members each list has, by its name on disk."""
    members: dict[str, set[str]] = defaultdict(set)
    for pattern, one in tensors.items():
        if ".*" in pattern:
            members[pattern.partition(".*")[0]] |= one.indexes
    return {name: len(indexes) for name, indexes in members.items()}
