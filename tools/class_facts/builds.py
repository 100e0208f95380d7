"""The models of a type with changed configs, which show what decides what its class loads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.class_facts import configs, models
from tools.class_facts.models import Loaded

_BLOCKS = 8
"""Enough for every kind of block that classes place by their number; more are only slower."""
_FEW_BLOCKS = (4, 6)
_PART_BLOCKS = 2
"""Of a vision or audio part, which is not looked into."""
_EXPERTS = 4
_JOINT = 3
"""So many changes of every size at once are enough to tell apart what is equal by chance."""
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a class loads with one config.

    Attributes:
        change: of the config, against the first.
        sizes: the whole numbers of the language model's config, by key.
        tensors: by name on disk.
        lengths: of the lists, by name on disk.
    """

    change: Mapping[str, Any]
    sizes: Mapping[str, int]
    tensors: Mapping[str, Loaded]
    lengths: Mapping[str, int]

    def place(self, name: str) -> str:
        """Whether a tensor is there in `all` members of its list, in `some`, or in `none`."""
        one = self.tensors.get(name)
        if one is None:
            return "none"
        whole = self.lengths.get(name.partition(".*")[0], 1)
        return "all" if len(one.indexes) == whole else "some"


def build_all(model_type: str) -> tuple[Any, list[Built]]:
    """The first config, and what the class loads with it and with every changed one that it takes."""
    config = configs.build_config(model_type, {})
    text = configs.text_key(config)
    smaller = _smaller(model_type, text)
    key, deeper = _blocks_key(configs.text_of(config)), list[int]()
    if key in configs.fields(configs.text_of(config).model_type):
        smaller[key], *deeper = _depths(model_type, smaller, text)
    first = configs.build_config(model_type, smaller, text)
    built = [_built(model_type, first, {})]
    text_type, base = configs.text_of(first).model_type, configs.text_of(first)

    def add(change: Mapping[str, Any]) -> bool:
        try:
            changed = configs.build_config(model_type, {**smaller, **change}, text)
            built.append(_built(model_type, changed, change))
        except Exception:  # noqa: BLE001  (the class does not take it, whatever it says)
            return False
        return True

    for depth in deeper:
        # With more blocks more of their kinds occur beside each other.
        add({key: depth})
    taken: set[str] = set()
    for change in configs.variants(text_type, base):
        ((key, value),) = change.items()
        size = _size(base, key)
        # One other size is enough.
        if key in taken and size and value == size // 2:
            continue
        if add(change):
            if size and value == 2 * size:
                taken.add(key)
        elif value is True:
            # A switch may need the sizes of what it switches on.
            add({**configs.nulls(text_type, base), key: True})
    joint = [change for change in configs.joint_variants(text_type, base) if add(change)]
    for change in _doubled(built, joint[:_JOINT]):
        add(change)
    return config, built


def with_all_parts(model_type: str) -> list[Built]:
    """What the class loads with each part that is none by default."""
    config = configs.build_config(model_type, {})
    built = []
    for key in configs.sub_configs(model_type):
        if getattr(config, key, None) is None:
            try:
                built.append(_built(model_type, configs.with_part(model_type, key), {}))
            except Exception:  # noqa: BLE001
                continue
    return built


def _doubled(built: Sequence[Built], joint: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Changes of two keys: of one that brings new tensors, and of such that say how large tensors are."""
    known = built[0]
    keys = set(sizing(built))
    larger = {
        next(iter(one.change)): one.change
        for one in built
        if len(one.change) == 1 and one.change.keys() <= keys and all(one.change.values())
    }
    new: list[Mapping[str, Any]] = []
    seen: set[frozenset[str]] = set()
    for one in (one for one in built[1:] if len(one.change) == 1):
        tensors = frozenset(one.tensors.keys() - known.tensors.keys())
        computed = any(value is None and key in one.sizes for key, value in one.change.items())
        # One of several changes that bring the same tensors is enough.
        if (tensors and tensors not in seen) or one.sizes.keys() - known.sizes.keys() or computed:
            seen.add(tensors)
            new.append(one.change)
    return [
        {**one, **two}
        for one, two in itertools.product(new, [*larger.values(), *new, *joint])
        if not one.keys() & two.keys() and all(two.values())
    ]


def is_taken(model_type: str, change: Mapping[str, Any], text: str) -> bool:
    """Whether the class takes a change of its config."""
    try:
        models.build(model_type, configs.build_config(model_type, change, text))
    except Exception:  # noqa: BLE001
        return False
    return True


def _blocks_key(text: Any) -> str:
    return str(text.attribute_map.get("num_hidden_layers", "num_hidden_layers"))


def _depths(model_type: str, smaller: Mapping[str, Any], text: str) -> list[int]:
    """The least number of blocks with which everything occurs, and larger ones."""
    whole = configs.text_of(configs.build_config(model_type, {}, text))
    key = _blocks_key(whole)
    usual = _size(whole, key) or 1
    larger = smaller.get(key, usual)
    names = _built(model_type, configs.build_config(model_type, smaller, text), {}).tensors.keys()
    for depth in (one for one in _FEW_BLOCKS if one < larger):
        change = {**smaller, key: depth}
        try:
            found = _built(model_type, configs.build_config(model_type, change, text), {}).tensors.keys()
        except Exception:  # noqa: BLE001
            continue
        if found == names:
            return [depth, larger, *([usual] if usual != larger else [])]
    return [larger, *([usual] if usual != larger else [])]


def _smaller(model_type: str, text: str) -> dict[str, Any]:
    """Changes that make a model quicker to build, as far as its class takes them."""
    first = configs.text_of(configs.build_config(model_type, {}, text))
    fields = configs.fields(first.model_type)
    taken: dict[str, Any] = {}
    wanted = [("num_hidden_layers", _BLOCKS), *((key, _EXPERTS) for key in _EXPERT_KEYS)]
    for key, most in wanted:
        key = key if key in fields else first.attribute_map.get(key, key)
        value = _size(first, key)
        if key not in fields or value is None or value <= most:
            continue
        if is_taken(model_type, {**taken, key: most}, text):
            taken[key] = most
    return taken


def _built(model_type: str, config: Any, change: Mapping[str, Any]) -> Built:
    text = configs.text_of(config)
    for key in configs.parts(config):
        part = getattr(config, key)
        for size in ("num_hidden_layers", "depth"):
            if part is not text and (_size(part, size) or 0) > _PART_BLOCKS:
                setattr(part, size, _PART_BLOCKS)
    tensors = models.loaded(models.build(model_type, config))
    sizes = {
        key: found
        for key in dict.fromkeys((*configs.fields(text.model_type), *change))
        if (found := _size(text, key)) is not None
    }
    return Built(change=change, sizes=sizes, tensors=tensors, lengths=models.lengths(tensors))


def _size(config: Any, key: str) -> int | None:
    value = configs.value_of(config, key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def sizing(built: Sequence[Built]) -> list[str]:
    """The keys of which a change changes the shape of any tensor."""
    known = built[0].tensors
    return list(
        dict.fromkeys(
            next(iter(one.change))
            for one in built
            if len(one.change) == 1
            if any(
                name in known and tensor.shapes != known[name].shapes for name, tensor in one.tensors.items()
            )
        )
    )
