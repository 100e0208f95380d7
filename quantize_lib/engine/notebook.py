"""Notes what a model's own forward calls its blocks with.

Each of a block's outputs is known again by the memory that it shows: a later call that holds it takes the
block's output there, and everything else (masks, position embeddings, per-layer embeddings) is kept as it is.
"""

from __future__ import annotations

import copy
from collections import UserDict
from typing import Any

from torch import Tensor

from quantize_lib.engine.carried import CONTAINER, FIRST, key_of, tensors_of
from quantize_lib.engine.walk import BlockCall, Calls, Carried, Container, Noted, items_of
from quantize_lib.errors import EngineError


class Notebook:
    """Notes the calls of one forward.

    Attributes:
        hidden: what the first block got; None before its call.
        noted: arguments by block, in the order of the calls.
    """

    def __init__(self) -> None:
        self.hidden: Tensor | None = None
        self.noted: dict[int, Noted] = {}
        self._places: dict[Any, str] = {}
        self._containers: dict[int, Container] = {}
        # What is known by its identity has to live as long.
        self._alive: list[Any] = []

    def note(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Note a block's call.

        Returns:
            The hidden states among its arguments.

        Raises:
            EngineError: where blocks are called in another order than they lie in, or get something else
                than what the ones before returned.
        """
        if any(index <= before for before in self.noted):
            raise EngineError(f"its forward calls block {index} twice, or after a later one")
        hidden = self._carried(index, args, kwargs)
        self.noted[index] = self._note(args), {name: self._note(value) for name, value in kwargs.items()}
        return hidden

    def returns(self, index: int, output: Any) -> None:
        """Note what a block returns."""
        for number, leaf in enumerate(tensors_of(output)):
            self._place(leaf, key_of(index, number))

    def call(self, index: int) -> BlockCall:
        """A block's call by what is noted so far; everything is carried on."""
        args, kwargs = self.noted[index]
        return BlockCall(index=index, args=args, kwargs=kwargs, before=(FIRST,), after=())

    def result(self, left: tuple[int, ...] = (0,)) -> tuple[Tensor, Calls]:
        """The first block's hidden states, and the calls.

        Args:
            left: which of the last block's tensors are wanted, by number.

        Raises:
            EngineError: where no block was called.
        """
        if self.hidden is None:
            raise EngineError("its forward does not pass through its blocks")
        return self.hidden, Calls(self.noted, left)

    def _carried(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The hidden states among a call's arguments."""
        named = kwargs.get("hidden_states")
        tensors = [*([named] if isinstance(named, Tensor) else []), *tensors_of((args, kwargs))]
        if self.hidden is None:
            if not tensors:
                raise EngineError(f"its forward passes no hidden states to block {index}")
            self.hidden = tensors[0]
            self._place(self.hidden, FIRST)
            return self.hidden
        found = next((tensor for tensor in tensors if _identity(tensor) in self._places), None)
        if found is None:
            raise EngineError(f"its forward changes the hidden states before block {index}")
        return found

    def _place(self, value: Tensor, key: str) -> None:
        self._places[_identity(value)] = key
        self._alive.append(value)

    def _note(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            key = self._places.get(_identity(value))
            return value if key is None else Carried(key)
        if type(value) is tuple:
            return tuple(self._note(item) for item in value)
        if not isinstance(value, (dict, UserDict, list)):
            return value
        if id(value) not in self._containers:
            empty = copy.copy(value)
            empty.clear()
            # What blocks write into it later is carried.
            self._containers[id(value)] = Container(
                f"{CONTAINER}{len(self._containers)}",
                empty,
                {key: self._note(item) for key, item in items_of(value).items()},
            )
            self._alive.append(value)
        return self._containers[id(value)]


class Reached(Exception):  # noqa: N818 - no error: everything of interest has been seen
    """The last block was called."""


def _identity(tensor: Tensor) -> Any:
    """What tells a tensor from every other that lives: the memory that it shows, and how."""
    if not tensor.numel():
        return id(tensor)
    storage = tensor.untyped_storage()
    return storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
