"""What a block takes in memory, from the sizes of its layers."""

from __future__ import annotations

from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.block_memory import BlockMemory, block_memory

WIDTH, MLP, TOKENS = 1024, 2816, 16384


def _layers(inputs: int, *outputs: int) -> list[LayerInfo]:
    names = [f"model.layers.0.{inputs}.{index}" for index in range(len(outputs))]
    return [
        LayerInfo(name=name, in_features=inputs, out_features=out, tensor=f"{name}.weight")
        for name, out in zip(names, outputs, strict=True)
    ]


GROUPS = [
    _layers(WIDTH, WIDTH, WIDTH, WIDTH),
    _layers(WIDTH, WIDTH),
    _layers(WIDTH, MLP, MLP),
    _layers(MLP, WIDTH),
]


def _memory(*bits: int, effort: str = "standard") -> BlockMemory:
    cells = [Settings(method="gptq", bits=one, own={"effort": effort}) for one in bits]
    drift = [TOKENS if effort == "standard" and one < 8 else 0 for one in bits]
    return block_memory(GROUPS, cells, kept=0, tokens=TOKENS, drift=drift, carried=False)


def test_what_one_cell_alone_sees_of_the_base_model_is_gone_where_it_needs_most() -> None:
    alone, two = _memory(4), _memory(4, 3)
    assert alone.states == two.states
    assert two.peak - alone.peak > alone.states / 2


def test_it_is_all_there_for_a_cell_that_does_not_see_it() -> None:
    held = _memory(4).weights + _memory(4).statistics + _memory(4).states
    assert _memory(4, 8).peak > held


def test_a_cell_that_makes_up_for_errors_takes_more_than_one_that_does_not() -> None:
    assert _memory(4).peak > _memory(4, effort="fast").peak
