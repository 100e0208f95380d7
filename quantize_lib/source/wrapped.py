"""Tensors that a model has under other names: saved from a wrapper, or with an adapter that is not merged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.places import Places
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError

_ADAPTER = re.compile(
    r"(.*\.)?(?:lora_(?:[AaBb]|embedding_[AB]|magnitude_vector|down|up)|ia3_l|hada_w\d_[ab]|oft_r|vera_lambda_[bd])"
    r"(?:\..*)?"
)
_WRAPPERS: Mapping[str, str] = {
    "_orig_mod": "torch.compile",
    "module": "DataParallel, DistributedDataParallel or DeepSpeed",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "Lightning Fabric",
    "base_model": "PEFT",
}
"""Parts of tensors' names → who puts them there."""


def has_adapter(names: Iterable[str]) -> bool:
    """Whether tensors of an adapter (LoRA and the like) are among these."""
    return any(_ADAPTER.fullmatch(name) for name in names)


def check_names(model_id: str, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> None:
    """Refuse what was saved from inside a wrapper, and adapters that are not merged.

    Args:
        config: `config.json` of a supported model.
        tensors: what the safetensors headers say, by the name on disk.

    Raises:
        SourceError: naming a tensor, what is wrong with its name, and what to do.
    """
    adapter = next((name for name in tensors if has_adapter([name])), None)
    if adapter is not None:
        raise SourceError(
            f"{model_id}: {tensors[adapter].file} holds an adapter that is not merged ({adapter})",
            hint="Merge it first with peft's merge_and_unload(), and save what that gives with "
            "save_pretrained.",
        )
    facts = class_facts.of(config)
    if facts is None:
        return
    places = Places(facts, config)
    wanted = _wanted(places)
    missing = wanted - tensors.keys()
    for name, info in tensors.items():
        part = next((part for part in name.split(".") if part in _WRAPPERS), None)
        if part is not None and _without(name) in missing:
            raise _wrapped(model_id, name, info.file, part)
    if len(missing) < len(wanted):
        return
    # Nothing has its own name: a model that is a part of another has all of them behind a prefix.
    if places.embedding is None:
        return
    embedding = f".{places.embedding.name}"
    for ending in (embedding, embedding.replace(f".{facts.base}.", ".", 1)):
        for name, info in tensors.items():
            if name.endswith(ending):
                raise _wrapped(model_id, name, info.file, name.removesuffix(ending))


def _wanted(places: Places) -> set[str]:
    """Names of a model's tensors on disk but the head's, with the base model's prefix and without."""
    names = set(places.expected())
    if places.head is not None:
        names.discard(places.head.name)
    return names | {name.removeprefix(f"{places.facts.base}.") for name in names}


def _without(name: str) -> str:
    """A tensor's name without what wrappers put into it."""
    kept = [part for part in name.split(".") if part not in _WRAPPERS]
    # PEFT's model holds the model as `base_model.model`.
    return ".".join(kept[1:] if name.startswith("base_model.model.") else kept)


def _wrapped(model_id: str, name: str, file: str, part: str) -> SourceError:
    who = f" ({_WRAPPERS[part]})" if part in _WRAPPERS else ""
    return SourceError(
        f"{model_id}: {file} was saved from inside a wrapper{who}: its tensor {name} has {part} in its name",
        hint="Save the model itself, unwrapped (`accelerator.unwrap_model(model).save_pretrained(…)`, or "
        f"`model._orig_mod` after torch.compile), or rename its tensors without {part}.",
    )
