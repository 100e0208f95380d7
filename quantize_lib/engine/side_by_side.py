"""Batches of a text that go through a block side by side: at some layers each waits until all have come.

A forward can stop in its middle only on a stack of its own. Greenlets have that, and stay in this thread,
whose settings and cores are then theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from quantize_lib.engine.linears import Linear
from quantize_lib.engine.watch import watched


class SideBySide:
    """One text on its way through one block.

    Args:
        device: on which it is.

    Attributes:
        number: the batch that moves.
    """

    def __init__(self, device: torch.device) -> None:
        self.number = 0
        self._device = device.type
        self._passed: set[str] = set()

    def run(
        self,
        batches: int,
        forward: Callable[[int], Tensor],
        linears: Mapping[str, Linear],
        come: Callable[[str, Tensor], None],
        ready: Callable[[str], Collection[str]],
    ) -> list[Tensor]:
        """Take every batch through the block.

        Args:
            forward: takes the batch of a number through it.
            linears: the layers at which batches wait, by relative name, in the model's order.
            come: told of each batch that comes to a layer where it is to wait: the layer, and its input.
            ready: called when every batch waits or is through, with the first layer where one waits; gives
                the layers at which none waits any more, that layer among them.

        Returns:
            What the block gave, by batch.
        """
        order = {name: place for place, name in enumerate(linears)}
        main, mine = getcurrent(), torch.is_autocast_enabled(self._device)

        def wait(name: str, inputs: Tensor) -> None:
            if name in self._passed:
                return
            come(name, inputs)
            own = torch.is_autocast_enabled(self._device)
            while name not in self._passed:
                # Modules may compute in another arithmetic than the rest.
                torch.set_autocast_enabled(self._device, mine)
                main.switch(name)
            torch.set_autocast_enabled(self._device, own)

        runs = [greenlet(partial(forward, number)) for number in range(batches)]
        waiting: dict[int, str] = {}
        outputs: dict[int, Tensor] = {}

        def move(number: int) -> None:
            self.number = number
            given = runs[number].switch()
            if runs[number].dead:
                waiting.pop(number, None)
                outputs[number] = given
            else:
                waiting[number] = given

        try:
            with watched(linears, wait):
                for number in range(batches):
                    move(number)
                while waiting:
                    self._passed.update(ready(min(waiting.values(), key=order.__getitem__)))
                    for number in list(waiting):
                        move(number)
        finally:
            for run in runs:
                if not run.dead:
                    run.throw()
        return [outputs[number] for number in range(batches)]
