"""What modules of a block get while text goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from quantize_lib.engine.linears import Linear


def rows_of(states: Tensor) -> Tensor:
    """What a module gets, by token: float32 (tokens, width)."""
    return states.reshape(-1, states.shape[-1]).float()


def first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first tensor of a call: hidden states are."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


@contextmanager
def removed(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks on modules that are there inside this context alone."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watched(linears: Mapping[str, Linear], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside this context every call of these layers is seen before they compute."""

    def before(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            see(name, args[0])

        return hook

    with removed(linear.module.register_forward_pre_hook(before(name)) for name, linear in linears.items()):
        yield


@contextmanager
def watched_modules(block: nn.Module, names: set[str], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside this context the first tensor of every call of these modules is seen before they compute.

    Args:
        names: of modules of the block; the block's own is empty. Those that it has not are left out.
        see: told of the module, and of what it gets as `rows_of` gives it, in a copy.
    """

    def before(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (state := first_tensor(args, kwargs)) is not None:
                # It may be added to in place.
                see(name, rows_of(state).clone())

        return hook

    modules = dict(block.named_modules())
    with removed(
        modules[name].register_forward_pre_hook(before(name), with_kwargs=True)
        for name in names & modules.keys()
    ):
        yield
