"""Batches of a text go through a block side by side and wait for each other at its layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.side_by_side import SideBySide

CPU = torch.device("cpu")
INPUTS = [torch.full((2, 3), float(number)) for number in range(4)]


class _Block(nn.Module):
    """Its second layer is reached by some batches alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(3, 3, bias=False) for _ in range(3))
        for layer in (self.first, self.second, self.last):
            nn.init.eye_(layer.weight)

    def forward(self, states: Tensor) -> Tensor:
        states = self.first(states)
        if states[0, 0] >= 4:
            with torch.autocast("cpu", enabled=False):
                states = self.second(states.float())
        last: Tensor = self.last(states)
        return last


def _run(block: _Block, log: list[str]) -> list[Tensor]:
    way = SideBySide(CPU)

    def come(name: str, inputs: Tensor) -> None:
        log.append(f"{way.number} at {name} with {inputs[0, 0]:g}")

    def ready(name: str) -> list[str]:
        log.append(f"round {name}")
        find_linears(block)[name].view.mul_(2)
        return [name]

    with torch.inference_mode():
        return way.run(len(INPUTS), lambda number: block(INPUTS[number]), find_linears(block), come, ready)


def test_a_layer_is_rounded_when_all_batches_have_come_to_it_or_passed_by() -> None:
    log: list[str] = []
    outputs = _run(_Block(), log)
    assert log == [
        *(f"{number} at first with {number}" for number in range(4)),
        "round first",
        *("0 at last with 0", "1 at last with 2", "2 at second with 4", "3 at second with 6"),
        "round second",
        *("2 at last with 8", "3 at last with 12"),
        "round last",
    ]
    assert [float(output[0, 0]) for output in outputs] == [0, 4, 16, 24]


def test_each_batch_computes_in_its_own_arithmetic_again_when_it_goes_on() -> None:
    dtypes: list[torch.dtype] = []
    block = _Block()
    block.second.register_forward_hook(lambda _module, _args, output: dtypes.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = _run(block, [])
    assert dtypes == [torch.float32, torch.float32]
    assert [output.dtype for output in outputs] == [torch.bfloat16] * 4


def test_an_error_in_one_batch_ends_the_others_and_leaves_no_hook() -> None:
    block = _Block()
    way = SideBySide(CPU)

    def ready(_name: str) -> list[str]:
        raise ValueError("cannot be rounded")

    with torch.inference_mode(), pytest.raises(ValueError, match="cannot be rounded"):
        way.run(2, lambda n: block(INPUTS[n]), find_linears(block), lambda _name, _inputs: None, ready)
    assert not block.first._forward_pre_hooks
    assert torch.equal(block(INPUTS[1]), INPUTS[1])
