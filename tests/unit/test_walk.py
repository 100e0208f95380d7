"""What is noted of a forward over stand-ins, and what is carried from block to block by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.engine.carried import hidden_of, is_plain, pack, unpack, widened
from quantize_lib.engine.notebook import Notebook
from quantize_lib.engine.walk import Calls, Output
from quantize_lib.errors import EngineError

HIDDEN = torch.ones(1, 3, 2)


class Adds(nn.Module):
    """Adds what it is called with."""

    def forward(self, hidden: Tensor, more: Tensor) -> Tensor:
        return hidden + more


class Shares(nn.Module):
    """Gives hidden states and something else, and keeps a count of its calls in a shared dictionary."""

    def forward(
        self, hidden: Tensor, before: Tensor | None, shared: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        shared["sum"] = shared.get("sum", torch.zeros(())) + hidden.sum()
        return hidden * 2, hidden if before is None else before + shared["sum"]


def noted(*calls: tuple[tuple[Any, ...], dict[str, Any], Any]) -> tuple[Tensor, Calls]:
    """The calls of a forward, each as its arguments, its keyword arguments and what the block returns."""
    notebook = Notebook()
    for index, (args, kwargs, output) in enumerate(calls):
        notebook.note(index, args, kwargs)
        notebook.returns(index, output)
    return notebook.result()


def two_adds(mask: Tensor) -> Calls:
    first = HIDDEN.clone()
    return noted(((HIDDEN.clone(), mask), {}, first), ((first, mask), {}, HIDDEN.clone()))[1]


def test_a_later_call_takes_what_the_block_before_computes_and_not_what_stood_in_for_it() -> None:
    calls = two_adds(torch.full((2,), 5.0))
    hidden = calls[0](Adds(), HIDDEN)
    assert torch.equal(calls[1](Adds(), hidden), HIDDEN + 10)


def test_what_blocks_return_beside_hidden_states_and_write_into_dictionaries_is_carried() -> None:
    shared: dict[str, Tensor] = {}
    one, two, three = ((HIDDEN.clone(), HIDDEN.clone()) for _ in range(3))
    hidden, calls = noted(
        ((HIDDEN.clone(), None, shared), {}, one),
        ((one[0], one[1], shared), {}, two),
        ((two[0], two[1], shared), {}, three),
    )
    for _ in range(2):
        # Each text has a dictionary of its own: a second one counts from the start.
        carried, expected = hidden, HIDDEN
        truth: dict[str, Tensor] = {}
        before: Tensor | None = None
        for index in range(3):
            carried = calls[index](Shares(), carried)
            expected, before = Shares()(expected, before, truth)
            assert torch.equal(hidden_of(carried), expected)
            assert is_plain(carried) == (index == 2)
    assert not shared


def test_a_block_that_is_not_called_leaves_what_is_carried_as_it_is() -> None:
    notebook = Notebook()
    notebook.note(0, (HIDDEN, HIDDEN), {})
    notebook.returns(0, HIDDEN.clone())
    _, calls = notebook.result()
    assert 1 not in calls
    assert calls[1](Adds(), HIDDEN) is HIDDEN


def test_calls_of_equal_batches_are_one_and_of_others_share_what_is_equal() -> None:
    mask = torch.arange(2.0)
    calls = two_adds(mask)
    assert two_adds(mask.clone()).like(calls) is calls
    other = two_adds(mask + 1)
    merged = other.like(calls)
    assert merged is not calls
    assert torch.equal(merged[0](Adds(), HIDDEN), HIDDEN + mask + 1)


def test_what_is_carried_comes_back_as_it_was_given() -> None:
    assert pack({"3/0": HIDDEN}) is HIDDEN
    assert unpack(HIDDEN, ["container 0", "3/0"]) == {"3/0": HIDDEN}
    state = {"3/0": HIDDEN, "3/1": torch.arange(4), "container 0": {"full": (HIDDEN + 1, None)}}
    packed = pack(state)
    assert packed.dtype == torch.uint8
    found = unpack(packed)
    assert torch.equal(hidden_of(packed), HIDDEN)
    assert torch.equal(found["3/1"], torch.arange(4))
    assert torch.equal(found["container 0"]["full"][0], HIDDEN + 1)


def test_what_was_computed_in_bfloat16_goes_on_in_the_dtype_of_the_hidden_states() -> None:
    keys, values, positions = torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.arange(2)
    carried = pack({"0/0": torch.zeros(1, 3), "container 0": {"layer": (keys, values, positions)}})
    found = unpack(widened(carried))
    assert [leaf.dtype for leaf in found["container 0"]["layer"]] == [keys.dtype, keys.dtype, positions.dtype]
    plain = torch.zeros(1, 3)
    assert widened(plain) is not plain


def test_stand_ins_take_next_to_no_memory_and_are_told_apart() -> None:
    form = Output.of((torch.zeros(1, 8, 4), None, torch.zeros(1, 2)))
    wide = torch.zeros(2, 64, 4)
    hidden, nothing, other = form.stand_in(wide)
    assert hidden.shape == wide.shape
    assert hidden.untyped_storage().nbytes() == wide.element_size()
    assert nothing is None
    assert other.shape == (1, 2)
    assert hidden.data_ptr() != other.data_ptr()


@pytest.mark.parametrize(
    ("second", "args", "problem"),
    [
        (0, (HIDDEN,), "calls block 0 twice"),
        (1, (HIDDEN + 1,), "changes the hidden states before block 1"),
    ],
)
def test_a_forward_that_does_not_go_from_block_to_block_is_an_error(
    second: int, args: tuple[Tensor, ...], problem: str
) -> None:
    notebook = Notebook()
    notebook.note(0, (HIDDEN,), {})
    notebook.returns(0, HIDDEN.clone())
    with pytest.raises(EngineError, match=problem):
        notebook.note(second, args, {})
