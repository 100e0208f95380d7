"""The types of whole files and of tensors, as llama.cpp names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gguf import GGMLQuantizationType

FULL = "F32"
"""Of norms and biases."""
HALF = "F16"
"""Of rows that fit into no block."""


@dataclass(frozen=True, kw_only=True)
class FileType:
    """A type of a whole file: a mix of tensor types.

    Attributes:
        bits: about how many a weight has.
        base: the type of most tensors.
        title: for people.
    """

    bits: int
    base: str
    title: str


FILE_TYPES: Mapping[str, FileType] = {
    "Q8_0": FileType(bits=8, base="Q8_0", title="8 bits, nearly the base model"),
    "Q6_K": FileType(bits=6, base="Q6_K", title="6 bits"),
    "Q5_K_M": FileType(bits=5, base="Q5_K", title="5 bits, 6 in some layers"),
    "Q4_K_M": FileType(bits=4, base="Q4_K", title="4 bits, 6 in some layers"),
    "Q4_0": FileType(bits=4, base="Q4_0", title="4 bits, the simplest and fastest"),
}
"""By name. Of those with the same bits the first is the better one."""


BLOCKS: Mapping[str, tuple[int, int]] = {
    FULL: (1, 4),
    HALF: (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "IQ4_NL": (32, 18),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "IQ4_XS": (256, 136),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
"""Types of tensors → weights and bytes of a block. The package `gguf` has them too, and imports numpy: a plan
does without, and a test compares."""


def file_number(name: str) -> int:
    """`general.file_type` of a type of file."""
    from gguf import LlamaFileType

    return int(LlamaFileType[f"MOSTLY_{name}"])


def ggml_type(name: str) -> GGMLQuantizationType:
    """The package's word for a tensor's type."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[name]


def block_size(name: str) -> int:
    """How many weights of a row are stored together."""
    return BLOCKS[name][0]


def tensor_bytes(name: str, shape: Sequence[int]) -> int:
    """What a tensor of a type takes; its rows fit into blocks."""
    block, size = BLOCKS[name]
    return prod(shape) // block * size
