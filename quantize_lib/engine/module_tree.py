"""The tree of modules that transformers builds for a config, without weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from quantize_lib.architecture.walk import check_walk
from quantize_lib.engine.base_config import config_errors
from quantize_lib.errors import SourceError

_AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText")
"""The classes of transformers that continue text, in the order in which they are asked."""


def auto_class(config: Any, *, trust_remote_code: bool = False) -> Any:
    """The class of transformers that loads a config's model.

    Vision-language types have two classes, one of them for the language model alone; the one that
    `architectures` names loads all that the files hold.

    Args:
        config: as transformers' own class.

    Raises:
        SourceError: where no class for text takes the config.
    """
    import transformers

    known = [getattr(transformers, name) for name in _AUTO_CLASSES]
    takers = [auto for auto in known if _class_of(auto, config) is not None]
    if trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return known[0]
    named = set(getattr(config, "architectures", None) or ())
    chosen = next((auto for auto in takers if _class_of(auto, config).__name__ in named), None)
    if chosen is None and not takers:
        raise SourceError(
            f"transformers has no class that continues text for the model type {config.model_type}",
            hint="Name a causal language model, or a vision-language model that answers in text.",
        )
    return chosen or takers[0]


def build(folder: Path, config: Any, *, dtype: torch.dtype, trust_remote_code: bool = False) -> nn.Module:
    """The model on the meta device, ready to evaluate.

    Raises:
        SourceError: where its class cannot be built.
    """
    auto = auto_class(config, trust_remote_code=trust_remote_code)
    with config_errors(folder), torch.device("meta"):
        model = auto.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    return cast(nn.Module, model).eval()


def only_block_list(model: nn.Module) -> str:
    """Full name of the list of decoder blocks.

    It is the list of modules with most matrices, in the part that transformers calls the decoder: lists in
    vision and audio parts stand beside it.

    Raises:
        SourceError: where there is none, or where text passes through several.
    """
    decoder = cast(Any, model).get_decoder()
    counts = {
        name: sum(parameter.dim() > 1 for parameter in module.parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    inside = {name for name in counts if any(part is model.get_submodule(name) for part in decoder.modules())}
    own = {name for name in inside if owner_of(model, name) is decoder}
    # What is called the decoder may be a head, or a wrapper around the model that has the list.
    lists = {name: counts[name] for name in own or inside or counts}
    most = max(lists.values(), default=0)
    if not most:
        raise SourceError(
            f"{type(model).__name__} has no list of decoder blocks", hint="Name a causal language model."
        )
    # Of lists within a list the outer one comes first, and has as many or more.
    chosen: str = next(name for name in counts if lists.get(name) == most)
    # A list of plain layers is no list of blocks, and what is within the chosen one is part of a block.
    blocks = {
        name: count
        for name, count in lists.items()
        if name == chosen or (not name.startswith(f"{chosen}.") and _holds_blocks(model.get_submodule(name)))
    }
    check_walk(
        type(model).__name__, getattr(getattr(decoder, "config", None), "model_type", None), chosen, blocks
    )
    return chosen


def parts_beside(model: nn.Module, blocks: str) -> tuple[str, ...]:
    """Full names of the models inside a model that text does not pass through: vision and audio towers."""
    from transformers import PreTrainedModel

    def beside(prefix: str, module: nn.Module) -> Iterator[str]:
        for name, child in module.named_children():
            full = f"{prefix}{name}"
            if f"{blocks}.".startswith(f"{full}."):
                yield from beside(f"{full}.", child) if full != blocks else ()
            elif isinstance(child, PreTrainedModel):
                yield full
            else:
                yield from beside(f"{full}.", child)

    return tuple(beside("", model))


def owner_of(model: nn.Module, name: str) -> Any:
    """The innermost model of transformers that a module belongs to: its code knows how buffers are made."""
    from transformers import PreTrainedModel

    parts = name.split(".") if name else []
    owner: nn.Module = model
    module = model
    for part in parts:
        module = getattr(module, part)
        if isinstance(module, PreTrainedModel):
            owner = module
    return owner


def _holds_blocks(modules: nn.Module) -> bool:
    return any(True for block in modules.children() for _ in block.children())


def _class_of(auto: Any, config: Any) -> Any:
    """What an Auto class would build of a config; None where it takes none."""
    mapping = auto._model_mapping
    if type(config) not in mapping:
        return None
    found = mapping[type(config)]
    if isinstance(found, (list, tuple)):
        named = set(getattr(config, "architectures", None) or ())
        return next((one for one in found if one.__name__ in named), found[0])
    return found
