"""What is probably wrong with a config whose class does not load all that its files hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.blocks import of_all_blocks
from quantize_lib.architecture.class_facts import ClassFacts
from quantize_lib.architecture.class_tensors import ClassTensor
from quantize_lib.architecture.places import Places
from quantize_lib.wording import joined

_MOST_NAMED = 3


def likely(config: Mapping[str, Any], held: Collection[str], strays: Collection[str]) -> str:
    """What probably has to be mended.

    Args:
        config: `config.json`.
        held: full names of the tensors that have a place.
        strays: names of those that have none.
    """
    facts = class_facts.of(config)
    if facts is None:
        return "config.json is probably another model's; or remove the tensors if they are left over."
    files = {_starred(name, facts) for name in held} | {_starred(name, facts) for name in strays}
    others = [other for other in class_facts.every() if other is not facts and _fits(other, files)]
    # The nearest: a plain language model, what misses least, and of these what could hold least beside it.
    far = {
        other.model_type: (
            other.varied or bool(other.text or other.beside),
            len(_usual(other) - files),
            len(other.tensors),
        )
        for other in others
    }
    nearest = [name for name, distance in far.items() if distance == min(far.values())]
    is_exact = any(_usual(other) == files for other in others)
    if not is_exact and (keys := _unmet(Places(facts, config), facts, strays)):
        return f"config.json probably has to say {joined(keys)}, as it did where the model was trained."
    if nearest:
        return (
            f"They are what a {joined(nearest[:_MOST_NAMED], 'or')} has: model_type and architectures of "
            "config.json are probably another model's."
        )
    return "config.json is probably another model's; or remove the tensors if they are left over."


def _unmet(places: Places, facts: ClassFacts, strays: Collection[str]) -> list[str]:
    """The keys, with the values, with which the class would load the strays."""
    wanted: set[str] = set()
    for name in strays:
        tensor = facts.tensors.get(_starred(name, facts))
        if tensor is not None:
            wanted |= {f"{one.key}: {str(one.wanted).lower()}" for one in tensor.unmet(places.value)}
    return sorted(wanted)


def _starred(name: str, facts: ClassFacts) -> str:
    pattern = of_all_blocks(name)
    return (
        pattern
        if pattern in facts.tensors
        else f"{facts.base}.{pattern}".replace(f"{facts.base}.{facts.base}.", f"{facts.base}.")
    )


def _fits(facts: ClassFacts, files: Set[str]) -> bool:
    """Whether a class may load all that files hold."""
    return files <= facts.tensors.keys()


def _usual(facts: ClassFacts) -> set[str]:
    """What a class loads where config.json says nothing."""
    return {name for name, one in facts.tensors.items() if _is_usual(one, facts)}


def _is_usual(tensor: ClassTensor, facts: ClassFacts) -> bool:
    return tensor.is_needed(lambda key: facts.value({}, key)) and tensor.group is None
