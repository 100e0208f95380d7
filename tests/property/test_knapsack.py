"""The choice of bits is exact: nothing that fits costs less."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.engine.knapsack import cheapest

UNIT = st.dictionaries(
    st.integers(0, 9),
    st.tuples(st.integers(0, 40), st.floats(0, 100, allow_nan=False)),
    min_size=1,
    max_size=4,
)


@given(st.lists(UNIT, min_size=1, max_size=5), st.integers(0, 120), st.sampled_from([1, 7, 4096]))
def test_of_all_that_fits_nothing_costs_less(
    units: list[dict[int, tuple[int, float]]], slack: int, scale: int
) -> None:
    options = [{key: (size * scale, cost) for key, (size, cost) in unit.items()} for unit in units]
    room = sum(min(size for size, _ in unit.values()) for unit in options) + slack * scale
    chosen = cheapest(options, room)
    assert sum(unit[key][0] for unit, key in zip(options, chosen, strict=True)) <= room
    possible = [
        sum(cost for _, cost in picked)
        for picked in product(*(unit.values() for unit in options))
        if sum(size for size, _ in picked) <= room
    ]
    cost = sum(unit[key][1] for unit, key in zip(options, chosen, strict=True))
    assert cost == pytest.approx(min(possible))


@given(st.lists(UNIT, min_size=1, max_size=5))
def test_what_does_not_fit_is_refused(units: list[dict[int, tuple[int, float]]]) -> None:
    least = sum(min(size for size, _ in unit.values()) for unit in units)
    with pytest.raises(ValueError, match="is the least"):
        cheapest(units, least - 1)


def test_sizes_that_no_step_divides_take_no_more_room_than_there_is() -> None:
    options = [{"small": (0, 1.0), "large": (10_000_019 + number, 0.5)} for number in range(40)]
    room = 400_000_000
    chosen = cheapest(options, room)
    assert sum(unit[key][0] for unit, key in zip(options, chosen, strict=True)) <= room
    assert chosen.count("large") == 39
