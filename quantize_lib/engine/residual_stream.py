"""Which linear layers of a block add to its residual stream, and what they add to: found by watching it.

No table of families: a layer adds to the input of some module if the sum of that input and of the layer's
output is, bit for bit, what a later module gets or what the block returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from quantize_lib.engine.linears import Linear
from quantize_lib.engine.watch import first_tensor, removed

_TOKENS = 16
"""The first ones, by which sums are recognized."""


@contextmanager
def added_to(block: nn.Module, linears: Mapping[str, Linear]) -> Iterator[dict[str, str]]:
    """Inside this context a forward of the block is watched; afterwards the mapping is filled.

    Args:
        linears: layers that are modules, by relative name.

    Yields:
        By layer that adds to the residual stream, the module whose input it adds to. What is multiplied or
        normed before it is added is not found, nor what is added to a sum that no module gets.
    """
    found: dict[str, str] = {}
    watch = _Watch()
    handles = [
        module.register_forward_pre_hook(watch.input_of(name), with_kwargs=True)
        for name, module in block.named_modules()
    ]
    handles += [
        linear.module.register_forward_hook(watch.output_of(name)) for name, linear in linears.items()
    ]
    handles.append(block.register_forward_hook(watch.returned))
    with removed(handles):
        yield found
    found.update(watch.found())


@dataclass(frozen=True)
class _Watch:
    """What came by in one forward, in its order: the first tokens of inputs and outputs.

    Attributes:
        states: whose input it is, and the input; at last what the block returned, which is no module's.
        outputs: the layer, how many states there were before, and its output.
    """

    states: list[tuple[str | None, Tensor]] = field(default_factory=list)
    outputs: list[tuple[str, int, Tensor]] = field(default_factory=list)

    def input_of(self, name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (state := first_tensor(args, kwargs)) is not None:
                self.states.append((name, _beginning(state)))

        return hook

    def output_of(self, name: str) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                self.outputs.append((name, len(self.states), _beginning(output)))

        return hook

    def returned(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if (state := first_tensor(output if isinstance(output, tuple) else (output,), {})) is not None:
            self.states.append((None, _beginning(state)))

    def found(self) -> dict[str, str]:
        """The module by layer; none that was called more than once, as it has no one input."""
        calls = Counter(name for name, _ in self.states)
        found: dict[str, str] = {}
        for layer, before, output in self.outputs:
            later = [state for _, state in self.states[before:]]
            for name, state in self.states[:before]:
                if name is not None and calls[name] == 1 and _adds(state, output, later):
                    found[layer] = name
                    break
        return found


def _adds(state: Tensor, output: Tensor, later: Sequence[Tensor]) -> bool:
    """Whether the sum of a state and a layer's output is among what came later; neither of them is zero."""
    if state.shape != output.shape or not bool(state.any() and output.any()):
        return False
    whole = state + output
    return any(one.shape == whole.shape and torch.equal(one, whole) for one in later)


def _beginning(state: Tensor) -> Tensor:
    """The first tokens, as they are now: what follows may change them in place."""
    return (state.reshape(-1, state.shape[-1])[:_TOKENS] if state.dim() else state).clone()
