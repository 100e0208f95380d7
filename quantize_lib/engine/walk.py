"""What the model's own forward passes to its blocks, and what comes from one block to a later one.

A forward over stand-ins shows it: each notes its call and returns new objects in the form that its block
returns. A later call that holds one of these takes the block's output there; everything else (masks, position
embeddings, per-layer embeddings) is kept as it is. A container that blocks write into is carried with the
hidden states, so that every text has its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as trees

from quantize_lib.engine.carried import State, key_of, pack, tensors_of, unpack

Noted = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a block's call, with markers in place of what is carried."""


@dataclass(frozen=True)
class Carried:
    """In a noted call, the place of a carried tensor."""

    key: str


@dataclass(frozen=True)
class Container:
    """In a noted call, a dictionary or list, with what it held before the first block."""

    key: str
    empty: Any
    held: dict[Any, Any]


@dataclass(frozen=True)
class Output:
    """The form in which a block returns: a tensor, or some within tuples, lists and dictionaries.

    Attributes:
        like: the output of a real call, its tensors on the meta device.
    """

    like: Any

    @classmethod
    def of(cls, value: Any) -> Output:
        """The form of what a block returned."""
        return cls(trees.tree_map_only(Tensor, lambda leaf: torch.empty_like(leaf, device="meta"), value))

    def stand_in(self, hidden: Tensor, values: Mapping[int, Tensor] | None = None) -> Any:
        """Tensors in this form, each with a place in memory of its own and next to no size.

        Args:
            hidden: what the block gets; the first tensor and those of its shape have the same here.
            values: real ones, by number.
        """
        leaves, form = trees.tree_flatten(self.like)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        made = [
            torch.zeros(1, dtype=leaf.dtype, device=hidden.device).expand(
                hidden.shape if leaf.shape == tensors[0].shape else leaf.shape
            )
            for leaf in tensors
        ]
        rest = iter([value if values is None else values.get(n, value) for n, value in enumerate(made)])
        return trees.tree_unflatten(
            [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves], form
        )


_PLAIN = Output(torch.empty(1, 1, 1, device="meta"))


class Route:
    """How a model's own forward goes through its blocks.

    Args:
        outputs: by block in the order of the calls, the form in which it returns; empty where that is not
            known: then every block is called, and returns a tensor.
        left: which of the last block's tensors the model goes on with, by number.
    """

    def __init__(self, outputs: Mapping[int, Output], left: tuple[int, ...] = (0,)) -> None:
        self.outputs = outputs
        self.left = left

    def output(self, index: int) -> Output:
        """The form in which a block returns."""
        return self.outputs.get(index, _PLAIN)

    def last(self, blocks: int) -> int:
        """The last block that is called, of so many."""
        return max(self.outputs, default=blocks - 1)

    def end(self, index: int, carried: Tensor, device: torch.device) -> Any:
        """What the last block returned, of what is carried after it."""
        state = unpack(carried.to(device), [key_of(index, self.left[0])])
        values = {number: cast(Tensor, state[key_of(index, number)]) for number in self.left}
        return self.output(index).stand_in(values[self.left[0]], values)


@dataclass(frozen=True, kw_only=True)
class BlockCall:
    """One block's call, as the walk makes it.

    Attributes:
        args, kwargs: as noted.
        before, after: keys of what is carried to the block and beyond it.
        index: of the block.
    """

    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __call__(self, block: Callable[..., Any], hidden: Tensor) -> Tensor:
        """Run a block.

        Args:
            hidden: hidden states of shape (batch, sequence, hidden), or what `pack` made of more than these.

        Returns:
            The same after the block.
        """
        state = self.run(block, unpack(hidden, self.before))
        return pack({key: value for key, value in state.items() if key in self.after})

    def run(self, block: Callable[..., Any], state: State) -> State:
        """Run a block, and add to what is carried all that it returned or wrote into containers."""
        made: dict[str, tuple[Any, dict[Any, Any]]] = {}
        args, kwargs = _fill((self.args, self.kwargs), state, made)
        output = block(*args, **kwargs)
        written = {
            key: items_of(container)
            for key, (container, given) in made.items()
            if key in state or _differ(items_of(container), given)
        }
        returned = {key_of(self.index, number): leaf for number, leaf in enumerate(tensors_of(output))}
        # What it returned comes first: the hidden states are the first of it.
        return {**returned, **{key: value for key, value in state.items() if key not in returned}, **written}


class Calls:
    """The calls of one batch.

    A block that text does not pass through leaves what is carried as it is.
    """

    def __init__(self, noted: Mapping[int, Noted], left: tuple[int, ...] = (0,)) -> None:
        """Find out what is carried from call to call.

        Args:
            noted: arguments by block, in the order of the calls.
            left: which of the last block's tensors are wanted, by number.
        """
        self._left = left
        self._noted = noted
        self._calls: dict[int, BlockCall] = {}
        order = list(noted)
        after = {key_of(order[-1], number) for number in left}
        for index in reversed(order):
            args, kwargs = noted[index]
            before = {key for key in after if not key.startswith(f"{index}/")} | set(_keys((args, kwargs)))
            self._calls[index] = BlockCall(
                index=index,
                args=args,
                kwargs=kwargs,
                before=tuple(sorted(before)),
                after=tuple(sorted(after)),
            )
            after = before

    def __getitem__(self, index: int) -> BlockCall | _Passed:
        return self._calls.get(index) or _Passed()

    def __contains__(self, index: int) -> bool:
        return index in self._calls

    def like(self, other: Calls) -> Calls:
        """These calls with the other batch's tensors where the two are equal; the other's where all are."""
        same = _Same()
        merged = {
            index: same.merged(noted, other._noted[index]) if index in other._noted else noted
            for index, noted in self._noted.items()
        }
        return other if same.all and merged.keys() == other._noted.keys() else Calls(merged, self._left)


class _Passed:
    """In place of the call of a block that text does not pass through."""

    def __call__(self, _block: Callable[..., Any], hidden: Tensor) -> Tensor:
        return hidden


def _keys(noted: Any) -> Iterable[str]:
    if isinstance(noted, (Carried, Container)):
        yield noted.key
    if isinstance(noted, Container):
        noted = noted.held
    if isinstance(noted, (tuple, dict)):
        for item in noted.values() if isinstance(noted, dict) else noted:
            yield from _keys(item)


def _fill(noted: Any, state: State, made: dict[str, tuple[Any, dict[Any, Any]]]) -> Any:
    """A noted value with what is carried in its places.

    Args:
        made: gets the containers that were made, each with what it held.
    """
    if isinstance(noted, Carried):
        return state[noted.key]
    if isinstance(noted, Container):
        if noted.key not in made:
            held = state.get(noted.key)
            if held is None:
                held = {key: _fill(item, state, made) for key, item in noted.held.items()}
            made[noted.key] = _holding(noted.empty, held), held
        return made[noted.key][0]
    if type(noted) is tuple:
        return tuple(_fill(item, state, made) for item in noted)
    if type(noted) is dict:
        return {key: _fill(item, state, made) for key, item in noted.items()}
    return noted


def _holding(empty: Any, held: Mapping[Any, Any]) -> Any:
    """A new container like an empty one, with what it holds."""
    container = copy.copy(empty)
    if isinstance(container, list):
        container.extend(held.values())
    else:
        container.update(held)
    return container


def _differ(now: Mapping[Any, Any], given: Mapping[Any, Any]) -> bool:
    return now.keys() != given.keys() or any(now[key] is not given[key] for key in now)


def items_of(container: Any) -> dict[Any, Any]:
    """What a dictionary or list holds, by key or place."""
    return dict(container) if isinstance(container, Mapping) else dict(enumerate(container))


class _Same:
    """Compares what two batches' calls hold.

    Attributes:
        all: whether everything was equal so far.
    """

    def __init__(self) -> None:
        self.all = True
        self._seen: dict[tuple[int, int], Tensor] = {}

    def merged(self, mine: Any, theirs: Any) -> Any:
        """Mine, with theirs where the two are equal."""
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
            pair = id(mine), id(theirs)
            if pair not in self._seen:
                self._seen[pair] = theirs if _equal(mine, theirs) else mine
            self.all &= self._seen[pair] is theirs
            return self._seen[pair]
        if isinstance(mine, Container) and isinstance(theirs, Container):
            return Container(mine.key, mine.empty, self.merged(mine.held, theirs.held))
        if type(mine) is type(theirs) and isinstance(mine, tuple) and len(mine) == len(theirs):
            return tuple(self.merged(one, other) for one, other in zip(mine, theirs, strict=True))
        if type(mine) is type(theirs) is dict and mine.keys() == theirs.keys():
            return {key: self.merged(value, theirs[key]) for key, value in mine.items()}
        if mine is not theirs:
            self.all &= type(mine) is type(theirs) and bool(mine == theirs)
        return mine


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
