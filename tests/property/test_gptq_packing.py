"""GPTQ's packing for any codes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.packing.words import codes_per_period, pack_gptq, pack_rows


@st.composite
def _codes(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    bits = draw(st.sampled_from([2, 3, 4, 8]))
    rows = codes_per_period(bits) * draw(st.integers(1, 3))
    columns = draw(st.integers(1, 3))
    row = st.lists(st.integers(0, 2**bits - 1), min_size=columns, max_size=columns)
    return bits, draw(st.lists(row, min_size=rows, max_size=rows))


@given(_codes())
def test_every_column_is_one_little_endian_stream_of_bits(case: tuple[int, list[list[int]]]) -> None:
    bits, codes = case
    words = pack_rows(torch.tensor(codes), bits)
    assert words.dtype == torch.int32
    for column, packed in zip(zip(*codes, strict=True), words.T.tolist(), strict=True):
        stream = sum(code << bits * place for place, code in enumerate(column))
        assert sum((word & 0xFFFFFFFF) << 32 * place for place, word in enumerate(packed)) == stream


@given(bits=st.sampled_from([2, 3, 4, 8]), data=st.data())
def test_adding_one_to_every_stored_zero_point_never_carries(bits: int, data: st.DataObject) -> None:
    outputs = codes_per_period(bits)
    zeros = data.draw(st.lists(st.integers(1, 2**bits - 1), min_size=outputs, max_size=outputs))
    packed = pack_gptq(
        torch.zeros(outputs, 32, dtype=torch.uint8),
        torch.tensor(zeros).unsqueeze(1),
        torch.ones(outputs, 1),
        bits=bits,
    )
    words = packed["qzeros"][0].tolist()
    stored = sum((word & 0xFFFFFFFF) << 32 * place for place, word in enumerate(words))
    ones = sum(1 << bits * place for place in range(outputs))
    assert stored + ones == sum(zero << bits * place for place, zero in enumerate(zeros))
