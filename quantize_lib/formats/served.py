"""Which servers read checkpoints, and what they are told of one."""

from __future__ import annotations

from dataclasses import dataclass

VLLM = "vLLM"
SGLANG = "SGLang"
LLAMA_CPP = "llama.cpp"
SERVERS = (VLLM, SGLANG)
"""Those that read folders of safetensors."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """How the weights of a checkpoint are rounded, for who serves it.

    Attributes:
        bits: of every layer.
        group_size: resolved; -1 for one group per row, and where the method has none.
        symmetric: whether all zero points are in the middle.
    """

    bits: int
    group_size: int
    symmetric: bool
