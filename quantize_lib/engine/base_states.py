"""What the base model's layers get and add to, for the text by which cells make up for their errors.

It is the beginning of the calibration text: what it is there comes by while a block is calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from quantize_lib.engine.linears import Linear
from quantize_lib.engine.precision import calibrating, exact
from quantize_lib.engine.residual_stream import Addition, added_to, places_of
from quantize_lib.engine.watch import watched, watched_modules


@dataclass(kw_only=True)
class BatchStates:
    """Of one batch.

    Attributes:
        inputs: by layer that is a module, bfloat16 (tokens, in); the same for layers that share it.
        streams: by module, what it gets of the residual stream, float32 (tokens, width).
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    streams: dict[str, Tensor] = field(default_factory=dict)


class BaseStates:
    """Of one block.

    Args:
        linears: its layers that some cell quantizes, by relative name.
        count: how many batches are kept, from the first on.
        known: modules of the blocks so far whose input is the residual stream; it grows.
        once: whether what is kept is read by one cell alone, and goes when it was.

    Attributes:
        additions: by layer that adds to the residual stream, how it does.
        batches: what is kept.
        exact: whether text goes through the block in float32 alone, as its class does not compute otherwise.
    """

    def __init__(
        self,
        block: nn.Module,
        linears: Mapping[str, Linear],
        count: int,
        known: set[str],
        *,
        once: bool = False,
    ) -> None:
        self._block = block
        self._dense = {name: linear for name, linear in linears.items() if linear.owner is None}
        self._count = count
        self._known = known
        self._once = once
        self.additions: dict[str, Addition] = {}
        self.batches: list[BatchStates] = []
        self.exact = False

    def products(self, device: torch.device) -> AbstractContextManager[None]:
        """Inside this context text goes through the block."""
        return exact(device) if self.exact else calibrating(device)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside this context the next batch goes through the block, which is seen while there is need."""
        if len(self.batches) == self._count:
            yield
            return
        states = BatchStates()
        # Kept alive meanwhile, so that one object is one input.
        seen: list[tuple[Tensor, Tensor]] = []

        def note(name: str, inputs: Tensor) -> None:
            if name not in states.inputs:
                kept = next((kept for tensor, kept in seen if tensor is inputs), None)
                if kept is None:
                    kept = kept_rows(inputs).clone()
                    seen.append((inputs, kept))
                states.inputs[name] = kept

        with ExitStack() as watches:
            watches.enter_context(watched(self._dense, note))
            watches.enter_context(watched_modules(self._block, self._known, states.streams.__setitem__))
            if not self.batches:
                self.additions = watches.enter_context(added_to(self._block, self._dense))
            yield
        self.batches.append(states)

    def was_read(self, number: int, layers: Iterable[str], modules: Iterable[str]) -> None:
        """A cell needs these of a batch no more: inputs of layers, and what modules get of the stream."""
        if self._once:
            for name in layers:
                self.batches[number].inputs.pop(name, None)
            for name in modules:
                self.batches[number].streams.pop(name, None)

    def complete(self, again: Callable[[], object]) -> None:
        """See what was not known to be the residual stream: most blocks are like one before.

        Args:
            again: takes the first batch through the block once more.
        """
        if len(self.batches) == 1 and (new := places_of(self.additions) - self._known):
            self._known |= new
            with watched_modules(self._block, new, self.batches[0].streams.__setitem__):
                again()


def kept_rows(inputs: Tensor) -> Tensor:
    """A layer's input by token, bfloat16 (tokens, in): quantization changes it many times as much."""
    return inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16)
