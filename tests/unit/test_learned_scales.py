"""Scales that a block is given so that it returns what the base's does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from quantize_lib.engine.learned_scales import Called, distance, learn_scales
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.methods.scales import storable
from quantize_lib.formats.rounded import Codes, RoundedLayer

WIDTH, GROUP = 32, 16


class Block(nn.Module):
    """A residual MLP, one layer of which has its weight as (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = Conv1D(WIDTH, 2 * WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        made: Tensor = states + self.down(torch.relu(self.up(self.norm(states))))
        return made


Made = tuple[Block, list[Tensor], list[Tensor], dict[str, RoundedLayer]]
"""A block with its rounded weights, inputs, what the base returns for them, and the layers."""


def rounded(weight: Tensor, *, order: Tensor | None = None) -> RoundedLayer:
    """To nearest with 2 bits and zero points, in groups of consecutive inputs of the order."""
    group_of = None
    if order is not None:
        group_of = torch.empty_like(order)
        group_of[order] = torch.arange(len(order)) // GROUP
    of = torch.arange(weight.shape[1]) // GROUP if group_of is None else group_of
    groups = weight.shape[1] // GROUP
    low, high = (
        torch.stack([getattr(weight[:, of == group], pick)(1) for group in range(groups)], 1)
        for pick in ("amin", "amax")
    )
    scales = storable((high - low) / 3)
    zeros = (-low / scales).round().clamp(0, 3)
    values = ((weight / scales[:, of]).round() + zeros[:, of]).clamp(0, 3)
    codes = Codes(bits=2, values=values.to(torch.uint8), zeros=zeros, scales=scales, group_of=group_of)
    return RoundedLayer(weight=meaning(codes), codes=codes)


def meaning(codes: Codes) -> Tensor:
    of = torch.arange(codes.values.shape[1]) // GROUP if codes.group_of is None else codes.group_of
    return (codes.values.float() - codes.zeros[:, of]) * codes.scales[:, of]


@pytest.fixture
def made() -> Made:
    """Rounded with 2 bits, in inference mode."""
    torch.manual_seed(3)
    # As the engine has them: blocks and states of inference mode.
    with torch.inference_mode():
        block = Block()
        for parameter in block.parameters():
            parameter.requires_grad_(False)
        block.down.weight.mul_(10)
        inputs = [torch.randn(4, 16, WIDTH) for _ in range(3)]
        wanted = [block(states) for states in inputs]
        order = torch.randperm(2 * WIDTH)
        layers = {"up": rounded(block.up.weight), "down": rounded(block.down.weight.T, order=order)}
        block.up.weight.copy_(layers["up"].weight)
        block.down.weight.copy_(layers["down"].weight.T)
    return block, inputs, wanted, layers


def learned(
    block: Block, inputs: list[Tensor], wanted: list[Tensor], layers: Mapping[str, RoundedLayer]
) -> dict[str, RoundedLayer]:
    def forward(called: Called, number: int) -> Tensor:
        found: Tensor = called(inputs[number])
        return found

    with torch.inference_mode():
        return learn_scales(block, find_linears(block), layers, forward, wanted)


def test_the_block_returns_more_nearly_what_the_base_does(made: Made) -> None:
    block, inputs, wanted, layers = made
    with torch.inference_mode():
        before = sum(float(distance(block(one), two)) for one, two in zip(inputs, wanted, strict=True))
        found = learned(block, inputs, wanted, layers)
        block.up.weight.copy_(found["up"].weight)
        block.down.weight.copy_(found["down"].weight.T)
        after = sum(float(distance(block(one), two)) for one, two in zip(inputs, wanted, strict=True))
    assert after < 0.95 * before


def test_codes_stay_and_weights_are_what_codes_and_stored_scales_mean(made: Made) -> None:
    block, inputs, wanted, layers = made
    for name, layer in learned(block, inputs, wanted, layers).items():
        codes, before = layer.codes, layers[name].codes
        assert codes is not None
        assert before is not None
        assert torch.equal(codes.values, before.values)
        assert torch.equal(codes.zeros, before.zeros)
        assert not torch.equal(codes.scales, before.scales)
        assert torch.equal(codes.scales, storable(codes.scales))
        assert torch.equal(layer.weight, meaning(codes))


def test_the_block_is_as_it_was_afterwards(made: Made) -> None:
    block, inputs, wanted, layers = made
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    learned(block, inputs, wanted, layers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())
    assert not any(parameter.requires_grad for parameter in block.parameters())


def test_the_same_scales_are_learned_each_time(made: Made) -> None:
    one, other = (learned(*made) for _ in range(2))
    assert all(torch.equal(layer.weight, other[name].weight) for name, layer in one.items())


def test_each_token_counts_by_its_own_size() -> None:
    wanted = torch.tensor([[[1000.0, 0.0], [1.0, 0.0]]])
    returned = torch.tensor([[[1000.0, 100.0], [1.0, 0.1]]])
    assert float(distance(returned, wanted)) == pytest.approx(0.01)
