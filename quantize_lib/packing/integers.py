"""compressed-tensors' `pack-quantized`: codes as one dense stream of bits for each row.

Not through `compressed_tensors.compressors.pack_to_int32`, whose bytes are the same (a test compares them):
it takes signed codes and, for the usual widths, 4 to 20 times as long (4096 × 4096 in 4 bits: 97 to 194 ms
against 9 to 31 on one core).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WORD = 32


def pack_stream(codes: Tensor, bits: int) -> Tensor:
    """Pack each row, lowest bit first; a code may lie across two words, the last word is filled with zeros.

    Args:
        codes: uint8 (out, in), 0 .. 2**bits - 1, the zero point 2**(bits - 1) still in them.
        bits: 2, 3, 4 or 8.

    Returns:
        int32 (out, ceil(in * bits / 32)).
    """
    rows, columns = codes.shape
    words = -(-columns * bits // _WORD)
    if 8 % bits == 0:
        # No code lies across two bytes.
        padded = functional.pad(codes, (0, words * _WORD // bits - columns))
        parts = padded.view(rows, -1, 8 // bits)
        packed = parts[..., 0].clone()
        for position in range(1, 8 // bits):
            packed |= parts[..., position] << (position * bits)
    else:
        # Eight codes fill `bits` bytes: side by side in one 64-bit number, of which the low bytes are taken.
        padded = functional.pad(codes, (0, -columns % _WORD))
        parts = padded.view(rows, -1, 8)
        number = parts[..., 0].to(torch.int64)
        for position in range(1, 8):
            number |= parts[..., position].to(torch.int64) << (position * bits)
        packed = number.unsqueeze(-1).view(torch.uint8)[..., :bits].reshape(rows, -1)[:, : words * 4]
    return packed.contiguous().view(torch.int32)


def unpack_stream(packed: Tensor, bits: int, columns: int) -> Tensor:
    """The inverse of `pack_stream`: uint8 (out, in)."""
    rows = len(packed)
    stream = packed.contiguous().view(torch.uint8).view(rows, -1)
    digits = (stream.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    digits = digits.view(rows, -1)[:, : columns * bits].view(rows, columns, bits)
    powers = torch.arange(bits, dtype=torch.uint8, device=packed.device)
    return (digits << powers).sum(-1, dtype=torch.uint8)
