"""Which linear layers of a block add to its residual stream, and what they add to: found by watching it.

No table of families: a layer adds to the input of some module if the sum of that input and of the layer's
output is, bit for bit, what a later module gets or what the block returns; or where none is, if the two
differ by the output times a number, as some families multiply it first.
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
_TOLERANCE = 0.02
"""How far what is added may be from the output times a number: that is rounded to bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """How a layer adds to the residual stream.

    Attributes:
        to: the module whose input it adds to.
        factor: what its output is multiplied with first.
    """

    to: str
    factor: float = 1.0


def places_of(additions: Mapping[str, Addition]) -> set[str]:
    """The modules whose inputs layers add to."""
    return {addition.to for addition in additions.values()}


@contextmanager
def added_to(block: nn.Module, linears: Mapping[str, Linear]) -> Iterator[dict[str, Addition]]:
    """Inside this context a forward of the block is watched; afterwards the mapping is filled.

    Args:
        linears: layers that are modules, by relative name.

    Yields:
        By layer that adds to the residual stream, how it does. What is normed before it is added is not
        found, nor what is added to a sum that no module gets.
    """
    found: dict[str, Addition] = {}
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

    def found(self) -> dict[str, Addition]:
        """By layer; nothing that is zero says anything, nor a module that is called more than once."""
        calls = Counter(name for name, _ in self.states)
        found: dict[str, Addition] = {}
        for layer, before, output in self.outputs:
            if not output.any():
                continue
            earlier = [
                (name, state)
                for name, state in self.states[:before]
                if name is not None and calls[name] == 1 and state.shape == output.shape and bool(state.any())
            ]
            later = [state for _, state in self.states[before:] if state.shape == output.shape]
            if addition := _sum_of(earlier, output, later) or _multiple_of(earlier, output, later):
                found[layer] = addition
        return found


def _sum_of(
    earlier: Sequence[tuple[str, Tensor]], output: Tensor, later: Sequence[Tensor]
) -> Addition | None:
    """Something later is the sum of an earlier state and a layer's output."""
    for name, state in earlier:
        whole = state + output
        if any(torch.equal(one, whole) for one in later):
            return Addition(to=name)
    return None


def _multiple_of(
    earlier: Sequence[tuple[str, Tensor]], output: Tensor, later: Sequence[Tensor]
) -> Addition | None:
    """Something later is the sum of an earlier state and a multiple of a layer's output."""
    known = output.float()
    size = known.square().sum()
    for name, state in earlier:
        before = state.float()
        for one in later:
            added = one.float() - before
            factor = float((added * known).sum() / size)
            error = float((added - factor * known).norm())
            # A state that is lost beside what is added says nothing of a sum.
            if error < _TOLERANCE * min(float(added.norm()), float(before.norm())):
                return Addition(to=name, factor=factor)
    return None


def _beginning(state: Tensor) -> Tensor:
    """The first tokens, as they are now: what follows may change them in place."""
    return (state.reshape(-1, state.shape[-1])[:_TOKENS] if state.dim() else state).clone()
