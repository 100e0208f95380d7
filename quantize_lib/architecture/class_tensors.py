"""One tensor that a class loads: its shape in words, and what decides whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.architecture.class_words import evaluate

Value = Callable[[str], Any]
"""What a config says under a key."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A key of the config that decides whether a tensor is there.

    Attributes:
        wanted: whether the key has to be true or untrue (false, 0, null, an empty list).
    """

    key: str
    wanted: bool

    def holds(self, value: Value) -> bool:
        """Whether a config has it so that the tensor is there."""
        return bool(value(self.key)) == self.wanted


@dataclass(frozen=True, kw_only=True)
class ClassTensor:
    """A tensor, or all of the same name but for the indexes in it.

    Attributes:
        name: on disk, with `*` for each index.
        words: its shape, each side as `class_words` reads it; None where it has several.
        every: conditions that all have to hold.
        one: conditions of which one has to hold, where there are any.
        some: keys of which only some values bring it.
        group: the number of those that stand in the same members of its list, where not all have it.
        whole: it holds whole numbers.
    """

    name: str
    words: tuple[str, ...] | None
    every: tuple[Condition, ...] = ()
    one: tuple[Condition, ...] = ()
    some: tuple[str, ...] = ()
    group: int | None = None
    whole: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether it has two or more dimensions, as far as its shape is known."""
        return self.words is not None and len(self.words) > 1

    @property
    def start(self) -> str:
        """The name of the outermost list that it is in; "" where it is in none."""
        start, star, _ = self.name.partition(".*")
        return start if star else ""

    def is_possible(self, value: Value) -> bool:
        """Whether the class may load it with a config."""
        either = not (self.one or self.some)
        return all(one.holds(value) for one in self.every) and (
            either or any(one.holds(value) for one in self.one) or any(value(key) for key in self.some)
        )

    def is_needed(self, value: Value) -> bool:
        """Whether the class loads it with a config, whatever else that says; of a group, if one is there."""
        certain = not (self.one or self.some) or any(one.holds(value) for one in self.one)
        return certain and all(one.holds(value) for one in self.every)

    def unmet(self, value: Value) -> list[Condition]:
        """The conditions that a config does not meet."""
        if self.is_possible(value):
            return []
        return [one for one in (*self.every, *self.one) if not one.holds(value)]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int | None, ...] | None:
        """Its shape, None for a side that no key says; None where it has several."""
        return None if self.words is None else tuple(evaluate(word, sizes) for word in self.words)


def parse_tensor(name: str, line: str) -> ClassTensor:
    """Read a tensor's line of the data file: the shape, and what `tools.class_facts` writes behind it."""
    said, *tokens = line.split()
    every, one, some = [], [], []
    group, whole = None, False
    for token in tokens:
        if token.startswith("~"):
            group = int(token[1:])
        elif token == "#":
            whole = True
        elif token.startswith("?*"):
            some.append(token[2:])
        elif token.startswith("?"):
            one.append(Condition(key=token.lstrip("?-"), wanted=not token.startswith("?-")))
        else:
            every.append(Condition(key=token[1:], wanted=token[0] == "+"))
    words = () if said == "()" else tuple(said.split(","))
    return ClassTensor(
        name=name,
        words=None if said == "-" else words,
        every=tuple(every),
        one=tuple(one),
        some=tuple(some),
        group=group,
        whole=whole,
    )
