"""What each unit gets, so that all of them cost least and fit into a room: the multiple-choice knapsack.

Source: Kellerer, Pferschy, Pisinger 2004, Knapsack Problems (doi 10.1007/978-3-540-24777-7), section 11.5,
dynamic programming over the room, which is exact.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import gcd
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)

_STEPS = 1 << 17
"""The room is cut into at most so many steps. Sizes of a model's layers are multiples of thousands of bytes,
which this many hold exactly; where they do not, what is chosen takes less room than there is."""


def cheapest(options: Sequence[Mapping[K, tuple[int, float]]], room: int) -> list[K]:
    """One option for each unit: of all selections that fit into the room, one that costs least.

    Args:
        options: of each unit; size, a whole number from 0 on, and cost of every option.
        room: for the sizes of all that is selected.

    Raises:
        ValueError: where even the smallest options do not fit.
    """
    smallest = [min(size for size, _ in unit.values()) for unit in options]
    left = room - sum(smallest)
    if left < 0:
        raise ValueError(f"{sum(smallest)} is the least, and there is room for {room}")
    extra = [
        {key: (size - least, cost) for key, (size, cost) in unit.items()}
        for unit, least in zip(options, smallest, strict=True)
    ]
    left = min(left, sum(max(size for size, _ in unit.values()) for unit in extra))
    step = gcd(*(size for unit in extra for size, _ in unit.values())) or 1
    step *= max(1, -(-left // step // _STEPS))
    steps = left // step
    # By the steps that may be taken: what the units so far cost, and which option the last one has.
    best = torch.zeros(steps + 1, dtype=torch.float64)
    taken: list[torch.Tensor] = []
    for unit in extra:
        costs = torch.full((len(unit), steps + 1), torch.inf, dtype=torch.float64)
        for number, (size, cost) in enumerate(unit.values()):
            needed = -(-size // step)
            if needed <= steps:
                costs[number, needed:] = best[: steps + 1 - needed] + cost
        best, which = costs.min(0)
        taken.append(which.to(torch.int16))
    chosen: list[K] = []
    for unit, which in zip(reversed(extra), reversed(taken), strict=True):
        key = list(unit)[int(which[steps])]
        chosen.append(key)
        steps -= -(-unit[key][0] // step)
    return chosen[::-1]
