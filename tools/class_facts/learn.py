"""What decides which tensors a class loads, as the models with changed configs tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from tools.class_facts import configs
from tools.class_facts.builds import Built


def is_varied(text_type: str, built: Sequence[Built]) -> bool:
    """Whether a key of the config decides which blocks are of which kind."""
    if any(one.place(name) == "some" for one in built for name, it in one.tensors.items() if not it.part):
        return True
    first = {name: one.shapes for name, one in built[0].tensors.items()}
    keys = configs.per_block_keys(text_type)
    return any(
        {name: it.shapes for name, it in one.tensors.items()} != first
        for key in keys
        for one in built
        if one.change.keys() == {key}
    ) or has_unlearned(text_type, built)


def has_unlearned(text_type: str, built: Sequence[Built]) -> bool:
    """Whether the class took no change of such a key, so that nothing is known of it."""
    changed = {key for one in built if len(one.change) == 1 for key in one.change}
    return not set(configs.per_block_keys(text_type)) <= changed


def counts(built: Sequence[Built]) -> dict[str, str]:
    """The key that says how many members a list has, by the list's name."""
    found = {}
    for name, length in built[0].lengths.items():
        keys = [
            key
            for key in built[0].sizes
            if all(one.sizes.get(key) == one.lengths.get(name, -1) for one in built)
            and any(key in one.change for one in built)
        ]
        if keys and length:
            found[name] = keys[0]
    return found


def conditions(
    name: str, built: Sequence[Built], together: Mapping[tuple[frozenset[str], ...], int]
) -> list[str]:
    """When a tensor is there.

    Returns:
        `+key` and `-key`, all of which have to be true and untrue (false, 0 or null); `?key` and `?-key`, of
        which one has to be; `~` where the class may still do without, in some members of its list or in all.
    """
    places = {one.place(name) for one in built}
    base = built[0].place(name) != "none"
    found, loose = [], "some" in places
    single = [one for one in built if len(one.change) == 1]
    for key, group in itertools.groupby(single, lambda one: next(iter(one.change))):
        variants = list(group)
        if any(one.change[key] is None for one in variants):
            # 0 may be a size like others there.
            variants = [one for one in variants if str(one.change[key]) != "0"]
        original = _value(built[0], key, variants)
        differing = [one for one in variants if (one.place(name) != "none") != base]
        if not differing:
            continue
        turned = [one for one in variants if bool(one.change[key]) != original]
        if any(isinstance(one.change[key], list) for one in variants):
            if base and not any(one.change[key] for one in differing):
                found.append("+" + key)
            elif base:
                loose = True
            else:
                found.append("?*" + key)
        elif differing == turned and turned:
            wanted = original if base else not original
            sign = "+" if wanted else "-"
            found.append(sign + key if base else "?" + sign.replace("+", "") + key)
        elif base:
            loose = True
        else:
            found.append("?*" + key)
    if not base and not found:
        # Two keys together bring it.
        found += [f"?*{key}" for key in next(one.change for one in built if one.place(name) != "none")]
    if any(name in one.tensors and one.tensors[name].whole for one in built):
        found.append("#")
    return [*found, f"~{together[_where(name, built)]}"] if loose else found


def _where(name: str, built: Sequence[Built]) -> tuple[frozenset[str], ...]:
    """The members of its list that have a tensor, in each model."""
    return tuple(frozenset(one.tensors[name].indexes if name in one.tensors else ()) for one in built)


def together(names: Iterable[str], built: Sequence[Built]) -> dict[tuple[frozenset[str], ...], int]:
    """A number for all tensors that are always together."""
    different = dict.fromkeys(_where(name, built) for name in names)
    return {where: number for number, where in enumerate(different)}


def _value(first: Built, key: str, variants: Sequence[Built]) -> bool:
    """Whether a key is true in the first config, as its changes tell."""
    values = [one.change[key] for one in variants]
    if any(isinstance(value, bool) for value in values):
        return not values[0]
    return bool(first.sizes.get(key))
