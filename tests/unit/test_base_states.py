"""What the base model's layers get and add to is kept for the first batches of a text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.engine.base_states import BaseStates
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.residual_stream import Addition

WIDTH = 4


class _Block(nn.Module):
    """Two layers with one input, and a last one that adds to the residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.gate, self.up, self.down = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.calls = 0

    def forward(self, states: Tensor) -> Tensor:
        self.calls += 1
        normed = self.norm(states)
        whole: Tensor = states + self.down(self.gate(normed) * self.up(normed))
        return whole


BATCHES = [torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


@pytest.fixture
def block() -> _Block:
    torch.manual_seed(0)
    return _Block()


def _seen(
    block: _Block,
    known: set[str],
    *,
    count: int = 2,
    batches: Iterable[Tensor] = BATCHES,
    once: bool = False,
) -> BaseStates:
    states = BaseStates(block, find_linears(block), count, known, once=once)
    with torch.inference_mode():
        for batch in batches:
            with states.watching():
                block(batch)
            states.complete(partial(block, batch))
    return states


def test_the_first_batches_are_kept_as_the_layers_get_them_and_no_others(block: _Block) -> None:
    states = _seen(block, set())
    assert len(states.batches) == 2
    for batch, kept in zip(BATCHES, states.batches, strict=False):
        expected = block.norm(batch).reshape(-1, WIDTH).bfloat16()
        assert torch.equal(kept.inputs["gate"], expected)
        assert kept.inputs["gate"] is kept.inputs["up"]
        assert kept.inputs.keys() == {"gate", "up", "down"}


def test_the_residual_stream_is_kept_of_every_batch_though_the_first_one_finds_it(block: _Block) -> None:
    states = _seen(block, set())
    # The sum of the block's own input and the layer's output is what the block returns.
    assert states.additions == {"down": Addition(to="")}
    for batch, kept in zip(BATCHES, states.batches, strict=False):
        assert torch.equal(kept.streams[""], batch.reshape(-1, WIDTH))


def test_only_the_first_batch_of_a_new_kind_of_block_goes_through_it_twice(block: _Block) -> None:
    known: set[str] = set()
    _seen(block, known)
    assert block.calls == len(BATCHES) + 1
    _seen(block, known)
    assert block.calls == 2 * len(BATCHES) + 1


def test_with_nothing_to_keep_nothing_is_watched(block: _Block) -> None:
    states = BaseStates(block, find_linears(block), 0, set())
    with states.watching():
        assert not block.gate._forward_pre_hooks
    states.complete(lambda: pytest.fail("there is nothing to see"))
    assert states.batches == []


@pytest.mark.parametrize("once", [True, False])
def test_what_one_cell_alone_reads_is_kept_until_it_has(block: _Block, *, once: bool) -> None:
    states = _seen(block, set(), once=once)
    states.was_read(1, ["gate", "up"], [""])
    assert states.batches[1].inputs.keys() == ({"down"} if once else {"gate", "up", "down"})
    assert states.batches[1].streams.keys() == (set() if once else {""})
    assert states.batches[0].inputs.keys() == {"gate", "up", "down"}
