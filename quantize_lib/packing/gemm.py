"""The two containers of an AWQ layer: GEMM, and GPTQ's for layers that AWQ loaders cannot replace."""

from __future__ import annotations

import torch
from torch import Tensor

_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbouring outputs stands in which nibble of a word, lowest first (AutoAWQ's GEMM)."""


def pack_gemm(codes: Tensor, zeros: Tensor, scales: Tensor) -> dict[str, Tensor]:
    """AWQ's GEMM layout, made from the codes themselves.

    Not through `gptqmodel.utils.packing.hf_pack_layer`, whose bytes are the same (a test compares them): it
    takes the float weight, derives the codes a second time and goes column by column, 85 ms for a 1536 × 576
    layer against 2 ms here; importing it costs 4 s and patches transformers in the process that streams.

    Args:
        codes: integers 0..15 (out, in); out is a multiple of 8.
        zeros: integers 0..15 (out, groups).
        scales: float16 numbers, (out, groups).

    Returns:
        qweight int32 (in, out / 8), qzeros int32 (groups, out / 8), scales float16 (groups, out).
    """
    return {
        "qweight": _words(codes),
        "qzeros": _words(zeros),
        "scales": scales.T.to(torch.float16).contiguous(),
    }


def unpack_gemm(words: Tensor) -> Tensor:
    """The inverse of the packing of `qweight` or `qzeros`: int32 (n, out / 8) → uint8 (out, n)."""
    shifts = torch.tensor([4 * _ORDER.index(position) for position in range(8)], device=words.device)
    nibbles = (words[:, :, None].to(torch.int64) >> shifts) & 15
    return nibbles.flatten(1).T.to(torch.uint8).contiguous()


def _words(values: Tensor) -> Tensor:
    """Integers 0..15 (out, n) → int32 (n, out / 8)."""
    eights = values.T.to(torch.int32).reshape(values.shape[1], -1, 8)
    words = torch.zeros_like(eights[..., 0])
    for nibble, position in enumerate(_ORDER):
        words |= eights[..., position] << (4 * nibble)
    return words.contiguous()
