"""Rounding to nearest, written down anew: what every method has to be better than."""

from __future__ import annotations

import torch
from torch import Tensor


def round_to_nearest(weight: Tensor, bits: int, group_size: int, *, symmetric: bool) -> Tensor:
    """A weight (out, in) with groups of each row rounded to 2**bits levels between its extremes."""
    groups = weight.float().unflatten(1, (-1, group_size))
    low = groups.amin(-1, keepdim=True).clamp(max=0.0)
    high = groups.amax(-1, keepdim=True).clamp(min=0.0)
    levels = 2**bits - 1
    if symmetric:
        high = torch.maximum(high, -low)
        low = -high
    scale = ((high - low) / levels).clamp(min=1e-12)
    zero = torch.full_like(scale, 2.0 ** (bits - 1)) if symmetric else (-low / scale).round()
    codes = ((groups / scale).round() + zero).clamp(0, levels)
    rounded: Tensor = (codes - zero) * scale
    return rounded.flatten(1)


def bitsandbytes_rounding(weight: Tensor, quantization: dict[str, object]) -> Tensor:
    """A weight (out, in) as bitsandbytes itself rounds it, dequantized: float32."""
    if quantization["load_in_8bit"]:
        scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        return (weight.float() / scale).round() * scale
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        weight.contiguous(),
        quant_type=quantization["bnb_4bit_quant_type"],
        compress_statistics=quantization["bnb_4bit_use_double_quant"],
    )
    found: Tensor = functional.dequantize_4bit(codes, state)
    return found.float()


def float_rounding(weight: Tensor, quantization: dict[str, object]) -> Tensor:
    """A weight (out, in) as FP8, NVFP4 or MXFP4 by the largest size of each row or group: float32."""
    layout = quantization["format"]
    groups = weight.float()
    if layout == "float-quantized":
        scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448
        return (groups / scale).to(torch.float8_e4m3fn).float() * scale
    groups = groups.unflatten(1, (-1, 32 if layout == "mxfp4-pack-quantized" else 16))
    largest = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    scale = torch.exp2(largest.log2().floor() - 2)
    if layout == "nvfp4-pack-quantized":
        whole = 448 * 6 / largest.max()
        scale = (largest / 6 * whole).to(torch.float8_e4m3fn).float().clamp(min=2.0**-9) / whole
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    size = groups.abs() / scale
    nearest = numbers[(size.unsqueeze(-1) - numbers).abs().argmin(-1)]
    rounded: Tensor = (nearest.copysign(groups) * scale).flatten(1)
    return rounded
