"""The places that a class has for tensors, with a config: which name on disk stands in which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from quantize_lib.architecture.blocks import INDEX, of_all_blocks
from quantize_lib.architecture.class_facts import ClassFacts
from quantize_lib.architecture.class_names import in_memory
from quantize_lib.architecture.class_tensors import ClassTensor
from quantize_lib.architecture.language_model import expert_count
from quantize_lib.architecture.tensors import TensorInfo

Indexes = tuple[str, ...]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor belongs.

    Attributes:
        tensor: of the class.
        indexes: what stands for the `*` in its name.
        name: the tensor's full name on disk: with the base model's prefix where a file lacks it.
    """

    tensor: ClassTensor
    indexes: Indexes
    name: str


@dataclass
class Held:
    """The tensors of a model's files that its class loads.

    Attributes:
        by_name: by the full name on disk.
        by_place: by the class's tensor and the indexes.
        beside: of the parts beside the language model, by the name on disk.
        twice: two names of files for one place, where there are such.
    """

    by_name: dict[str, TensorInfo] = field(default_factory=dict)
    by_place: dict[str, dict[Indexes, TensorInfo]] = field(default_factory=lambda: defaultdict(dict))
    beside: dict[str, TensorInfo] = field(default_factory=dict)
    twice: tuple[TensorInfo, TensorInfo, str] | None = None

    def names(self) -> set[str]:
        """Their names in the files."""
        return {info.name for part in (self.by_name, self.beside) for info in part.values()}


class Places:
    """What a class loads with a config.

    Args:
        facts: of the config's type.
        config: `config.json`.
    """

    def __init__(self, facts: ClassFacts, config: Mapping[str, Any]) -> None:
        self.facts = facts
        self._config = config
        self._text, self._part = facts.text_facts(config), facts.text_config(config)
        self.sizes = facts.sizes(config)
        self._experts = expert_count(config)
        tensors = [one for one in facts.tensors.values() if one.is_possible(self.value)]
        self._memory = {one.name: in_memory(one.name, facts.renamed, facts.base) for one in tensors}
        self.embedding = self._in_memory(tensors, facts.embedding)
        self.head = self._in_memory(tensors, facts.head)
        if self.head is None and self.embedding is not None and facts.head:
            # A tied head is the embedding, and may lie in the files all the same.
            self.head = ClassTensor(name=facts.head, words=self.embedding.words)
            self._memory[facts.head] = (facts.head, False)
            tensors.append(self.head)
        self.tensors: Mapping[str, ClassTensor] = {one.name: one for one in tensors}
        self._by_star: dict[str, list[ClassTensor]] = defaultdict(list)
        self._by_memory: dict[str, list[ClassTensor]] = defaultdict(list)
        self._fused: dict[str, list[ClassTensor]] = defaultdict(list)
        for one in tensors:
            self._by_star[of_all_blocks(one.name)].append(one)
            name, is_converted = self._memory[one.name]
            (self._fused if is_converted else self._by_memory)[of_all_blocks(name)].append(one)

    def value(self, key: str) -> Any:
        """What the config says under a key, or the class takes where it says nothing."""
        own = key in self._part or key in self._text.defaults or self._text.other_names(key)
        return self._text.value(self._part, key) if own else self.facts.value(self._config, key)

    def memory(self, tensor: ClassTensor) -> str:
        """A tensor's name in memory."""
        return self._memory[tensor.name][0]

    def find(self, name: str) -> Place | None:
        """The place of a tensor by its name in a file; None where it has none."""
        base = f"{self.facts.base}."
        for full in (name, base + name, name.removeprefix(base)):
            if found := _match(self._by_star, full):
                return Place(tensor=found[0], indexes=found[1], name=full)
        renamed, is_converted = in_memory(name, self.facts.renamed, self.facts.base)
        if is_converted:
            return None
        for full in (renamed, base + renamed, renamed.removeprefix(base)):
            if found := _match(self._by_memory, full):
                return Place(tensor=found[0], indexes=found[1], name=name)
        return None

    def hold(self, tensors: Mapping[str, TensorInfo]) -> Held:
        """Put the tensors of files in their places."""
        held = Held()
        for name, info in tensors.items():
            place = self.find(name)
            if place is not None and self._is_beyond(place):
                continue
            if place is None:
                if self._is_beside(name):
                    held.beside[name] = info
                elif self._may_be_varied(name):
                    held.by_name[name] = info
                elif fused := self._find_fused(name):
                    held.by_name[name] = info
                    for tensor, indexes in fused:
                        held.by_place[tensor.name][indexes] = info
                continue
            there = held.by_place[place.tensor.name].setdefault(place.indexes, info)
            if there is not info:
                held.twice = held.twice or (there, info, _filled(self.memory(place.tensor), place.indexes))
            held.by_name[place.name] = info
        return held

    def missing(self, held: Held) -> Iterator[tuple[str, ClassTensor]]:
        """Full names on disk of the tensors that the class needs and the files do not hold."""
        needed = [
            one
            for one in self.tensors.values()
            if one not in self._pair and one.is_needed(self.value) and not self._is_uncertain(one)
        ]
        in_groups: dict[tuple[int | None, str], set[str]] = defaultdict(set)
        for one in needed:
            in_groups[one.group, one.start] |= {
                indexes[0] if indexes else "" for indexes in held.by_place[one.name]
            }
        for one in needed:
            there = held.by_place[one.name]
            if "*" not in one.name:
                if not there and (one.group is None or in_groups[one.group, one.start]):
                    yield one.name, one
                continue
            members = (
                self._members(one, held)
                if one.group is None
                else sorted(in_groups[one.group, one.start], key=int)
            )
            if one.name.count("*") == 1:
                yield from ((_filled(one.name, (index,)), one) for index in members if (index,) not in there)
            else:
                absent = self._absent_inside(one, members, there)
                yield from ((_filled(one.name, indexes), one) for indexes in absent)

    def embedding_in(self, held: Held) -> TensorInfo | None:
        """The token embedding, where the files hold it."""
        return None if self.embedding is None else held.by_place[self.embedding.name].get(())

    def head_in(self, held: Held) -> TensorInfo | None:
        """The head, where the files hold it."""
        return None if self.head is None else held.by_place[self.head.name].get(())

    def shape(self, tensor: ClassTensor) -> Shape | None:
        """A tensor's shape, None for a side that no key says; None where it has several."""
        shape = tensor.shape(self.sizes)
        if shape is None or not self._is_uncertain(tensor):
            return shape
        # Numbers and sizes of heads may be each block's own.
        words = tensor.words or ()
        return tuple(
            None if "*" in word or "head" in word else side for word, side in zip(words, shape, strict=True)
        )

    def expected(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that the class is sure to load, by full name on disk, and of the head.

        Of what has a side that no key says the shape is ().
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in (*self.missing(Held()), *((one.name, one) for one in self._pair)):
            sides = [side for side in self.shape(tensor) or (None,) if side is not None]
            shapes[name] = tuple(sides) if len(sides) == len(tensor.words or (None,)) else ()
        return shapes

    @cached_property
    def _pair(self) -> list[ClassTensor]:
        return [one for one in (self.embedding, self.head) if one is not None]

    def _in_memory(self, tensors: Iterable[ClassTensor], name: str) -> ClassTensor | None:
        return next((one for one in tensors if self._memory[one.name][0] == name), None)

    def _is_uncertain(self, tensor: ClassTensor) -> bool:
        """Whether blocks may lack it for reasons that only the class knows."""
        return self.facts.unlearned and ".*." in tensor.name

    def _may_be_varied(self, name: str) -> bool:
        """Whether a block may have it of which nothing is known: no switch that is off is the reason."""
        if not self.facts.varied:
            return False
        base = f"{self.facts.base}."
        stars = [of_all_blocks(one) for one in (name, base + name, name.removeprefix(base))]
        known = [self.facts.tensors[star] for star in stars if star in self.facts.tensors]
        if any(one.unmet(self.value) for one in known):
            return False
        for star in stars:
            start, found, _ = star.partition(".*.")
            if found and start in self.facts.lists:
                index = INDEX.search(name)
                count = self.sizes.get(self.facts.lists[start])
                return index is not None and (count is None or int(index[0]) < count)
        return False

    def _is_beyond(self, place: Place) -> bool:
        """Whether it is in a member of a list that has fewer."""
        count = self.sizes.get(self.facts.lists.get(place.tensor.start, ""))
        return count is not None and bool(place.indexes) and int(place.indexes[0]) >= count

    def _is_beside(self, name: str) -> bool:
        base = f"{self.facts.base}."
        renamed, _ = in_memory(name, self.facts.renamed, self.facts.base)
        forms = (name, base + name, name.removeprefix(base), renamed, renamed.removeprefix(base))
        return any(
            form == part or form.startswith(f"{part}.") for part in self.facts.beside for form in forms
        )

    def _find_fused(self, name: str) -> list[tuple[ClassTensor, Indexes]]:
        """The class's tensors that one in the form of memory stands for."""
        base = f"{self.facts.base}."
        for full in (name, base + name):
            indexes = tuple(INDEX.findall(full))
            if fused := self._fused.get(of_all_blocks(full)):
                return [(one, indexes) for one in fused]
        return []

    def _members(self, tensor: ClassTensor, held: Held) -> list[str]:
        """The indexes of the list that a tensor is in the members of."""
        start = tensor.start
        count = self.sizes.get(self.facts.lists.get(start, ""))
        if count is not None:
            return [str(index) for index in range(count)]
        return sorted(
            {
                indexes[0]
                for name, there in held.by_place.items()
                if name.partition(".*")[0] == start
                for indexes in there
                if indexes
            },
            key=int,
        )

    def _absent_inside(
        self, tensor: ClassTensor, members: Iterable[str], there: Mapping[Indexes, TensorInfo]
    ) -> Iterator[Indexes]:
        """The indexes of what the list inside the members of a list should hold and does not."""
        experts = self._experts if "expert" in tensor.name.rpartition(".*")[0] else None
        for index in members:
            # Of experts in one tensor each name is there at once.
            if (index,) in there:
                continue
            inner = [indexes for indexes in there if indexes[0] == index]
            count = experts or len(inner)
            if len(inner) < count:
                known = {indexes[1] for indexes in inner}
                yield from ((index, str(one)) for one in range(count) if str(one) not in known)


def _match(by_star: Mapping[str, Iterable[ClassTensor]], name: str) -> tuple[ClassTensor, Indexes] | None:
    """The class's tensor of that name, and the indexes in it."""
    found = by_star.get(of_all_blocks(name))
    if not found:
        return None
    parts = name.split(".")
    for one in found:
        pattern = one.name.split(".")
        if len(pattern) != len(parts):
            return one, tuple(INDEX.findall(name))
        # Indexes of sequences are names.
        if all(said in ("*", part) for said, part in zip(pattern, parts, strict=True) if part.isdecimal()):
            return one, tuple(part for said, part in zip(pattern, parts, strict=True) if said == "*")
    return None


def _filled(name: str, indexes: Indexes) -> str:
    for index in indexes:
        name = name.replace("*", index, 1)
    return name
