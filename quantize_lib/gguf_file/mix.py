"""Which tensor of a file gets which type: the rules of llama.cpp, for the types of files that are made here.

Source: tensor_allows_quantization, llama_tensor_get_type, llama_tensor_get_type_impl and
tensor_type_fallback in llama.cpp's src/llama-quant.cpp (MIT licence), read in the version that
llama-cpp-python 0.3.36 brings. A test compares them with what it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.gguf_file.types import FILE_TYPES, HALF, block_size

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_VALUES = ("attn_v.weight", "attn_qkv.weight")
_DOWN, _ROUTER = "ffn_down", "ffn_gate_inp"
_FEW_EXPERTS = 8
_OF_FEW_EXPERTS = {"attn_v.weight": "Q8_0", "attn_qkv.weight": "Q8_0", "attn_k.weight": "Q8_0"}
"""In mixtures of 8 experts, whose attention is a small part of them."""
_RAISED = {"Q4_K_M": "Q6_K", "Q5_K_M": "Q6_K"}
"""The type of some layers' values and down projections, in mixes."""
_FALLBACKS: Mapping[str, str] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""For rows that blocks of 256 do not fit into."""
_LARGE_LAYERS = 80
"""Blocks of the 70B models, whose values are shared by several heads and therefore get more bits."""


def is_router(name: str) -> bool:
    """Whether a tensor chooses among experts: such are never rounded.

    Args:
        name: in the file.
    """
    return _ROUTER in name


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What the rules look at of a model.

    Attributes:
        file_type: a name of `FILE_TYPES`.
        blocks: how many there are.
        tied: whether the embedding is the output layer, too.
        shares_values: whether several heads share their keys and values.
        experts: how many a block has.
    """

    file_type: str
    blocks: int
    tied: bool
    shares_values: bool
    experts: int = 0

    def tensor_type(self, name: str, columns: int) -> str:
        """The type of a matrix.

        Args:
            name: in the file (`blk.0.attn_v.weight`).
            columns: of a row.
        """
        wanted = self.wanted(name, columns)
        if columns % block_size(wanted) == 0:
            return wanted
        other = _FALLBACKS.get(wanted, wanted)
        return other if columns % block_size(other) == 0 else HALF

    def wanted(self, name: str, columns: int) -> str:
        """The type that a matrix has where its rows fit into blocks."""
        base = FILE_TYPES[self.file_type].base
        if name == OUTPUT or (name == EMBEDDING and self.tied):
            if columns % block_size(base):
                return "Q8_0"
            return base if base == "Q8_0" else "Q6_K"
        if name == EMBEDDING:
            return base
        block, _, layer = name.removeprefix("blk.").partition(".")
        if self.experts == _FEW_EXPERTS and layer in _OF_FEW_EXPERTS:
            return _OF_FEW_EXPERTS[layer]
        if layer in _VALUES:
            found = self._raised(int(block), base)
            large = self.blocks == _LARGE_LAYERS and self.shares_values
            return "Q5_K" if large and found == "Q4_K" else found
        if layer.startswith(_DOWN):
            # Where importance is known, as it is here.
            if self.file_type == "Q4_0" and int(block) < self.blocks // 8:
                return "Q4_1"
            return self._raised(int(block), base)
        if layer == "attn_output.weight" and self.experts == _FEW_EXPERTS and self.file_type == "Q4_K_M":
            return "Q5_K"
        return base

    def _raised(self, block: int, base: str) -> str:
        """The type of a layer that gets more bits in the first and last blocks, and in each third between."""
        eighth = self.blocks // 8
        more = block < eighth or block >= 7 * self.blocks // 8 or (block - eighth) % 3 == 2
        return _RAISED.get(self.file_type, base) if more else base
