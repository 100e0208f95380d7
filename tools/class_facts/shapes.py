"""The shapes of tensors in words of a config's keys, as the models with changed configs tell."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from quantize_lib.architecture.class_words import evaluate
from tools.class_facts.builds import Built


def shape(name: str, built: Sequence[Built], further: Iterable[str]) -> str:
    """A tensor's shape in words; "" where it has several.

    Args:
        further: keys that shapes of other tensors depend on.
    """
    # Of some keys 0 means the same as null.
    there = [one for one in built if name in one.tensors and "0" not in map(str, one.change.values())]
    if not there or any(len(one.tensors[name].shapes) != 1 for one in there):
        return ""
    shapes = [next(iter(one.tensors[name].shapes)) for one in there]
    if len({len(one) for one in shapes}) != 1:
        return ""
    sides = [[one[at] for one in shapes] for at in range(len(shapes[0]))]
    return ",".join(_word(there, side, further) for side in sides) or "()"


def derived(keys: Mapping[str, Any], built: Sequence[Built]) -> dict[str, str]:
    """How the class computes sizes that are null: as another one, or as a part of it."""
    found = {}
    for key, default in keys.items():
        silent = [one.sizes for one in built if one.change.get(key, default) is None]
        if any(key not in sizes for sizes in silent) or len({sizes[key] for sizes in silent}) < 2:
            continue
        names = sorted(name for name in silent[0] if name != key)
        words = [*names, *(f"{one}/{two}" for one, two in itertools.permutations(names, 2))]
        same = (word for word in words if all(evaluate(word, sizes) == sizes[key] for sizes in silent))
        if word := next(same, ""):
            found[key] = word
    return found


def _word(built: Sequence[Built], wanted: Sequence[int], further: Iterable[str]) -> str:
    """The expression that gives every size; "?" where there is none, or nothing says on what it depends."""
    if len(set(wanted)) == 1:
        return "?"
    keys = _keys(built, wanted)
    sizes = [one.sizes for one in built]
    # Two changes may cancel each other: heads that are more and narrower.
    further = dict.fromkeys((*further, *(key for key in sizes[0] if "heads" in key)))
    for names in (keys, *(keys | {key} for key in further if key not in keys)):
        word = _first(names, sizes, wanted)
        if word != "?":
            return word
        # A key of which null means that the size is computed from others.
        for key in names - sizes[0].keys():
            said = [at for at, known in enumerate(sizes) if key in known]
            rest = [at for at in range(len(sizes)) if at not in said]
            if not said:
                continue
            words = [
                _first(some, [sizes[at] for at in part], [wanted[at] for at in part])
                for some, part in ((names, said), (names - {key}, rest))
            ]
            if "?" not in words and key in words[0]:
                return "|".join(words)
    return "?"


def _keys(built: Sequence[Built], wanted: Sequence[int]) -> set[str]:
    """The keys of which a change changes a size."""
    found = set()
    for one, size in zip(built, wanted, strict=True):
        changed = one.change.keys() - built[0].change.keys()
        if len(changed) == 1 and size != wanted[0]:
            found |= changed
    return found


def _first(keys: set[str], sizes: Sequence[Mapping[str, int]], wanted: Sequence[int]) -> str:
    names = sorted(key for key in keys if key in sizes[0])
    fitting = (
        word
        for word in _words(names, sizes[0], wanted[0])
        if all(evaluate(word, known) == size for known, size in zip(sizes, wanted, strict=True))
    )
    return next(fitting, "?") if len(set(wanted)) > 1 else "?"


def _words(names: Sequence[str], sizes: Mapping[str, int], wanted: int) -> Iterator[str]:
    """Expressions that give a size, the simplest first."""
    pairs = [f"{one}*{two}" for one, two in itertools.combinations_with_replacement(names, 2)]
    quotients = [f"{one}/{two}" for one in (*names, *pairs) for two in names if two not in one]
    terms = [
        *(f"{factor}*{name}".removeprefix("1*") for factor in (1, 2, 3, 4) for name in (*names, *pairs)),
        *quotients,
    ]
    by_size: dict[int, list[str]] = defaultdict(list)
    for term in terms:
        by_size[evaluate(term, sizes) or 0].append(term)
    yield from by_size[wanted]
    yield from (f"{name}+{more}" for name in names for more in (1, 2) if sizes[name] + more == wanted)
    # Queries, keys and values in one.
    for size, several in list(by_size.items()):
        if 0 < size < wanted:
            yield from (f"{one}+{two}" for one in several for two in by_size.get(wanted - size, ()))
            if (wanted - size) % 2 == 0:
                others = by_size.get((wanted - size) // 2, ())
                yield from (f"{one}+2*{two}" for one in several for two in others)
