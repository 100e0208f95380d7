"""Which types a tensor may get of its own, where each gets the one by which the model loses least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from quantize_lib.gguf_file.types import block_size

CHOICES: Mapping[str, int] = {
    "Q2_K": 2,
    "Q3_K": 3,
    "IQ4_XS": 4,
    "IQ4_NL": 4,
    "Q4_K": 4,
    "Q5_0": 5,
    "Q5_K": 5,
    "Q5_1": 5,
    "Q6_K": 6,
    "Q8_0": 8,
}
"""The types, the smallest first, and about how many bits a weight has in each.

Without `Q4_0` and `Q4_1`: of normally distributed weights with importance they lose more than a mix of the
others that takes as many bytes.
"""
_LARGE = 256
"""Weights of the large blocks."""
_FILES: Mapping[str, str] = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
"""What llama.cpp calls a file of which it knows only that most tensors have these types."""


def choices_for(columns: int) -> tuple[str, ...]:
    """The types that a matrix may get; none where its rows fit into no block.

    Where rows fit into large blocks, those of smaller ones take more room for the same; only `Q8_0` has no
    counterpart among them.

    Args:
        columns: of a row.
    """
    if columns % _LARGE == 0:
        return tuple(name for name in CHOICES if block_size(name) == _LARGE or name == "Q8_0")
    return tuple(name for name in CHOICES if columns % block_size(name) == 0)


def file_type_of(kinds: Collection[str]) -> str:
    """The type of file that one with types tensor by tensor says that it is: that of most of its tensors.

    So the specification of `general.file_type` has it. llama.cpp shows it; where it is missing, llama.cpp
    guesses in the same way, but counts the norms, too.

    Args:
        kinds: the type of each tensor that is stored as blocks.
    """
    (most, _), *_ = Counter(kinds).most_common(1)
    return _FILES.get(most, most)
