"""Tensors of a quantized base in full precision: FP8 and MXFP4 as transformers dequantizes them."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.architecture.tensors import Stored

_PIECE = 1 << 20
"""Values that are in float32 at a time."""
_EXPONENT_BIAS = 127
"""Of scales that are stored as exponents alone, a byte each (UE8M0)."""


def dequantize(stored: Stored, codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """What codes and scales stand for.

    Args:
        codes: FP8 (…, rows, columns), or MXFP4 uint8 (experts, out, in / 32, 16).
        scales: as many as `stored.grid` says, of any shape.

    Returns:
        (…, rows, columns), or (experts, in, out), in `dtype`.
    """
    if stored.form == "MXFP4":
        from transformers.integrations.mxfp4 import convert_moe_packed_tensors

        rows = _PIECE // codes.shape[-1]
        return convert_moe_packed_tensors(codes, scales, dtype=dtype, rows_per_chunk=rows)
    factors = _factors(scales).reshape(stored.grid)
    block_rows, block_columns = stored.block
    rows, columns = codes.shape[-2:]
    made = torch.empty(codes.shape, dtype=dtype)
    # Whole blocks at a time.
    step = max(_PIECE * rows // codes.numel() // block_rows, 1) * block_rows
    for start in range(0, rows, step):
        end = min(start + step, rows)
        part = factors[..., start // block_rows : -(-end // block_rows), :]
        part = part.repeat_interleave(block_rows, -2)[..., : end - start, :]
        part = part.repeat_interleave(block_columns, -1)[..., :columns]
        made[..., start:end, :] = codes[..., start:end, :].float() * part
    return made


def _factors(scales: Tensor) -> Tensor:
    """float32 scales; bytes are exponents."""
    return (scales.float() - _EXPONENT_BIAS).exp2() if scales.dtype == torch.uint8 else scales.float()
