"""Reads packed layers by code of its own: a reader that shared a packer's order would not see its
mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from quantize_lib.files import read_json


class Unpacked:
    """The layers of a checkpoint by name, each as float32 (out, in)."""

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "config.json")
        self._quantization = config["quantization_config"]
        self._files: dict[str, Tensor] = {}
        if "gguf_file" in self._quantization:
            self._files = _llama_of(folder / self._quantization["gguf_file"], config)
        else:
            self._files = load_file(folder / "model.safetensors")

    def __getitem__(self, layer: str) -> Tensor:
        start = f"{layer}."
        parts = {
            key.removeprefix(start): value for key, value in self._files.items() if key.startswith(start)
        }
        return (
            parts["weight"] if "gguf_file" in self._quantization else unpack_layer(parts, self._quantization)
        )


_LLAMA = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def _llama_of(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The matrices of the blocks in a GGUF file of a Llama, by their names in safetensors."""
    from gguf import GGUFReader, dequantize

    found = {}
    for tensor in GGUFReader(file).tensors:
        _, block, *words = tensor.name.split(".")
        if not words or words[0] not in _LLAMA:
            continue
        read = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
        if words[0] in heads:
            # Rows 0, half, 1, half + 1, … of each head.
            pairs = read.unflatten(0, (heads[words[0]], -1, 2))
            read = torch.stack([pairs[:, :, 0], pairs[:, :, 1]], 1).flatten(0, 2)
        found[f"model.layers.{block}.{_LLAMA[words[0]]}.weight"] = read
    return found


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
