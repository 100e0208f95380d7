"""Reads packed layers by code of its own: a reader that shared a packer's order would not see its
mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def unpack_layer(parts: Mapping[str, Tensor], quantization: Mapping[str, Any]) -> Tensor:
    """What the tensors of a linear layer mean: float32 (out, in).

    Args:
        parts: by the last part of their names.
        quantization: the checkpoint's `quantization_config`.
    """
    readers = {
        "gptq": _gptq,
        "awq": _awq,
        "compressed-tensors": _compressed_tensors,
        "bitsandbytes": _bitsandbytes,
    }
    return readers[quantization["quant_method"]](parts, quantization)


def _bits_of(words: Tensor, bits: int, count: int) -> Tensor:
    """Numbers of `bits` bits out of 32-bit words that are one stream, lowest bit first: (…, count)."""
    shifts = torch.arange(32)
    stream = ((words.to(torch.int64)[..., None] >> shifts) & 1).flatten(-2)[..., : count * bits]
    numbers: Tensor = stream.unflatten(-1, (count, bits)) << torch.arange(bits)
    return numbers.sum(-1)


def _gptq(parts: Mapping[str, Tensor], quantization: Mapping[str, Any]) -> Tensor:
    bits = int(quantization["bits"])
    inputs, outputs = len(parts["g_idx"]), parts["scales"].shape[1]
    codes = _bits_of(parts["qweight"].T, bits, inputs)
    zeros = _bits_of(parts["qzeros"], bits, outputs).T + 1
    group = parts["g_idx"].to(torch.int64)
    return (codes - zeros[:, group]) * parts["scales"].float().T[:, group]


def _awq(parts: Mapping[str, Tensor], quantization: Mapping[str, Any]) -> Tensor:
    del quantization
    # AutoAWQ's GEMM: output 8·i + j stands in nibble (0, 4, 1, 5, 2, 6, 3, 7)[j] of word i.
    places = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])

    def nibbles(words: Tensor) -> Tensor:
        return ((words.to(torch.int64)[..., None] >> (4 * places)) & 15).flatten(-2)

    codes, zeros = nibbles(parts["qweight"]).T, nibbles(parts["qzeros"]).T
    scales = parts["scales"].float().T
    size = codes.shape[1] // scales.shape[1]
    return (codes - zeros.repeat_interleave(size, 1)) * scales.repeat_interleave(size, 1)


def _compressed_tensors(parts: Mapping[str, Tensor], quantization: Mapping[str, Any]) -> Tensor:
    if quantization["format"] == "float-quantized":
        return _fp8(parts)
    if quantization["format"] in ("nvfp4-pack-quantized", "mxfp4-pack-quantized"):
        return _fp4(parts)
    (group,) = quantization["config_groups"].values()
    bits = int(group["weights"]["num_bits"])
    outputs, inputs = parts["weight_shape"].tolist()
    codes = _bits_of(parts["weight_packed"], bits, inputs) - 2 ** (bits - 1)
    scales = parts["weight_scale"].float()
    assert len(codes) == outputs
    weight: Tensor = codes * scales.repeat_interleave(inputs // scales.shape[1], 1)
    return weight


def _fp8(parts: Mapping[str, Tensor]) -> Tensor:
    """A sign, four bits of an exponent with a bias of 7, three behind the point; no infinities."""
    byte = parts["weight"].view(torch.uint8).to(torch.int64)
    exponent, fraction = (byte >> 3) & 15, (byte & 7) / 8
    size = torch.where(exponent == 0, fraction * 2.0**-6, (1 + fraction) * torch.exp2(exponent - 7.0))
    numbers = torch.where(byte >> 7 == 1, -size, size)
    scales = parts["weight_scale"]
    rows, columns = numbers.shape
    if scales.shape != (rows, 1):
        scales = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[:rows, :columns]
    weight: Tensor = numbers * scales
    return weight


def _fp4(parts: Mapping[str, Tensor]) -> Tensor:
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    packed = parts["weight_packed"].to(torch.int64)
    codes = torch.stack([packed & 15, packed >> 4], -1).flatten(1)
    if "weight_global_scale" in parts:
        scales = parts["weight_scale"].float() / parts["weight_global_scale"]
    else:
        scales = torch.exp2(parts["weight_scale"].float() - 127)
    weight: Tensor = numbers[codes] * scales.repeat_interleave(codes.shape[1] // scales.shape[1], 1)
    return weight


def _bitsandbytes(parts: Mapping[str, Tensor], quantization: Mapping[str, Any]) -> Tensor:
    from bitsandbytes import functional

    if quantization["load_in_8bit"]:
        scales: Tensor = parts["SCB"].float()[:, None] / 127
        return parts["weight"].float() * scales
    state = {key.removeprefix("weight."): value for key, value in parts.items() if key.startswith("weight.")}
    read: Tensor = functional.dequantize_4bit(
        parts["weight"], functional.QuantState.from_dict(state, device=torch.device("cpu"))
    )
    meaning: Tensor = read.float()
    return meaning
