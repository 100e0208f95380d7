"""Marlin, the kernel by which servers multiply with packed weights fast, where it takes them.

Read in vLLM (`marlin_utils.py`: MARLIN_SUPPORTED_GROUP_SIZES, GPTQ_MARLIN_MIN_THREAD_N, …_K), whose numbers
SGLang shares; not run here.
"""

from __future__ import annotations

from collections.abc import Iterable

MARLIN = "Marlin"
BITS = (4, 8)
GROUPS = (-1, 32, 64, 128)
_INPUTS, _OUTPUTS = 128, 64
"""What inputs and outputs of a GPU's part of a layer are multiples of."""


def takes(shards: Iterable[tuple[int, int]], group_size: int | None) -> bool:
    """Whether it multiplies with these parts of layers, (inputs, outputs), in groups of that size.

    Args:
        group_size: -1 for one group a row; None where the format has none, which is no limit.
    """
    in_groups = group_size is None or group_size in GROUPS
    return in_groups and all(not inputs % _INPUTS and not outputs % _OUTPUTS for inputs, outputs in shards)
