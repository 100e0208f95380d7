"""NVFP4, MXFP4 and FP8 of any weights."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.formats import named_format
from quantize_lib.methods import Settings, settings_of
from quantize_lib.packing.nibbles import pack_pairs
from tests.support.rounding import checkpoint_context, make_block
from tests.support.unpacking import unpack_layer

CELLS = [
    settings_of("fp8", 8, {}),
    settings_of("fp8", 8, {"scales": "block"}),
    settings_of("nvfp4", 4, {}),
    settings_of("mxfp4", 4, {}),
]


@st.composite
def _weights(draw: st.DrawFn) -> Tensor:
    seed, rows, groups = draw(st.integers(0, 99)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    weight = torch.randn(rows, 32 * groups, generator=torch.Generator().manual_seed(seed))
    exponents = draw(st.lists(st.integers(-40, 12), min_size=rows, max_size=rows))
    weight = torch.ldexp(weight, torch.tensor(exponents)[:, None])
    for row in draw(st.lists(st.integers(0, rows - 1), max_size=2)):
        weight[row] = 0
    return weight


@settings(deadline=None, max_examples=60)
@given(_weights(), st.sampled_from(CELLS))
def test_what_is_packed_reads_back_as_what_was_meant_and_is_near(weight: Tensor, cell: Settings) -> None:
    linear = LinearInput(name="fc", weight=weight, bias=None, statistics=None, bits=cell.bits, group_size=-1)
    made = make_block(
        BlockInput(index=0, linears={"fc": linear}, params={}, folds=(), dtype=torch.bfloat16), cell
    )
    meant = made.weights["fc"]
    config = named_format(cell).quantization_config(
        checkpoint_context(cell, {"model.layers.0.fc": (cell.bits, -1)}, group_size=-1)
    )
    parts = {name.removeprefix("fc."): value for name, value in made.tensors.items()}
    assert torch.equal(unpack_layer(parts, config), meant)
    assert bool(torch.isfinite(meant).all())
    # Nothing beyond the range is made up, and no sign changes.
    assert float(meant.abs().max()) <= 1.5 * float(weight.abs().max()) + 2.0**-24
    assert bool((meant * weight >= 0).all())


@given(st.lists(st.lists(st.integers(0, 15), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_first_of_two_codes_is_in_the_lower_half(codes: list[list[int]]) -> None:
    packed = pack_pairs(torch.tensor(codes, dtype=torch.uint8))
    assert packed.tolist() == [
        [a | b << 4 for a, b in zip(row[::2], row[1::2], strict=True)] for row in codes
    ]
