"""GPTQ's storage: codes of 2, 3, 4 or 8 bits in int32 words, zero points stored minus one ("v1").

Why not `gptqmodel.utils.packing.hf_pack_layer` (7.6.0): it takes dequantized weights and rounds a second
time, while the codes are already here; it writes zero points as they are (v2) although its module then says
v1, so that a loader would add one too many; importing it costs 4.3 s on two cores, patches transformers and
safetensors' `save_file` and sets environment variables in the process that streams the model; its fast path
compiles a C++ extension at first use (23 s, and a compiler in the image), its plain path takes 20 to 30 ms
for a 1536 × 576 layer (3 to 9 ms here, on one core). An integration test compares the bytes with its own,
its v1 conversion applied, for every bit width, `sym` and `desc_act`. Reading goes through GPTQModel.
"""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 32
"""Bits of a storage word."""


def codes_per_period(bits: int) -> int:
    """The smallest number of codes that fills whole words: 16, 32, 8, 4 for 2, 3, 4, 8 bits."""
    return WORD if bits == 3 else WORD // bits


def pack_rows(codes: Tensor, bits: int) -> Tensor:
    """Pack along the first dimension: a little-endian stream of bits down each column.

    Args:
        codes: integers in 0 .. 2**bits - 1, (n, columns); n a multiple of `codes_per_period(bits)`.
        bits: 2, 3, 4 or 8. Codes of 3 bits cross the border of a word, as GPTQ's own format has them.

    Returns:
        int32 (n · bits / 32, columns).
    """
    period = codes_per_period(bits)
    words = period * bits // WORD
    lanes = codes.to(torch.int32).reshape(-1, period, codes.shape[1])
    packed = torch.zeros(lanes.shape[0], words, codes.shape[1], dtype=torch.int32, device=codes.device)
    for lane in range(period):
        word, offset = divmod(lane * bits, WORD)
        packed[:, word] |= lanes[:, lane] << offset
        if offset + bits > WORD:
            packed[:, word + 1] |= lanes[:, lane] >> (WORD - offset)
    return packed.view(-1, codes.shape[1])


def pack_gptq(
    codes: Tensor, zeros: Tensor, scales: Tensor, *, bits: int, g_idx: Tensor | None = None
) -> dict[str, Tensor]:
    """The four tensors of a quantized linear layer, contiguous and on the CPU.

    Args:
        codes: whole numbers in 0 .. 2**bits - 1, (out, in).
        zeros: whole numbers in 1 .. 2**bits - 1, (out, groups). A zero point of at least 1 keeps "minus one"
            inside its field: loaders add the one back to whole words, and a field that wrapped around would
            carry into its neighbour.
        scales: float16 numbers, (out, groups).
        bits: 2, 3, 4 or 8.
        g_idx: the group of each input, (in,); None for groups of consecutive inputs.

    Returns:
        qweight int32 (in · bits / 32, out), qzeros int32 (groups, out · bits / 32), scales float16
        (groups, out), g_idx int32 (in,).
    """
    if g_idx is None:
        inputs, groups = codes.shape[1], scales.shape[1]
        g_idx = torch.arange(inputs, device=codes.device) // (inputs // groups)
    tensors = {
        "qweight": pack_rows(codes.T, bits),
        "qzeros": pack_rows(zeros.to(torch.int32) - 1, bits).T,
        "scales": scales.T.to(torch.float16),
        "g_idx": g_idx.to(torch.int32),
    }
    return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
