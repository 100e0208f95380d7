"""Makes quantized bases of small models: FP8 in the layouts that are met on the Hub, and MXFP4."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.odd_weights import say

FP8_MAX = 448.0
LARGEST_FP4 = 2  # As a power of two: 6 is 1.5 * 2 ** 2.
_MATRIX = re.compile(r"\.layers\.\d+\..*(_proj|query_key_value|dense\w*)\.weight$")


def to_fp8(weight: Tensor, block: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Codes of (rows, columns) and float32 scales, one for each block; the last blocks may be smaller."""
    rows, columns = weight.shape
    high, wide = -(-rows // block[0]), -(-columns // block[1])
    padded = torch.zeros(high * block[0], wide * block[1])
    padded[:rows, :columns] = weight.float()
    blocks = padded.view(high, block[0], wide, block[1])
    scales = blocks.abs().amax((1, 3)).clamp(min=1e-12) / FP8_MAX
    codes = (blocks / scales[:, None, :, None]).view_as(padded)[:rows, :columns]
    return codes.contiguous().to(torch.float8_e4m3fn), scales


def to_mxfp4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """gpt-oss's form of (experts, in, out).

    Returns:
        Blocks (experts, out, in / 32, 16) and scales (experts, out, in / 32), both uint8.
    """
    experts, columns, rows = weight.shape
    values = weight.float().transpose(1, 2).reshape(experts, rows, columns // 32, 32)
    exponent = values.abs().amax(-1).clamp(min=2.0**-100).log2().floor() - LARGEST_FP4
    scaled = values / exponent.exp2()[..., None]
    grid = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    codes = (scaled.abs()[..., None] - grid).abs().argmin(-1) | (scaled < 0).long() << 3
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    return packed.to(torch.uint8), (exponent + 127).to(torch.uint8)


def make_fp8(folder: Path, layout: str, *, block: tuple[int, int] = (128, 128)) -> Path:
    """Store the matrices of a model's blocks in FP8, in place.

    Args:
        layout: `block` (`weight_scale_inv`, as DeepSeek and Qwen), `channel` or `tensor` (`weight_scale`, as
            compressed-tensors with a scale for a row or for a matrix).
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors(folder).items():
        if tensor.dim() != 2 or not _MATRIX.search(name):
            tensors[name] = tensor
            continue
        rows, columns = tensor.shape
        size = {"block": block, "channel": (1, columns), "tensor": (rows, columns)}[layout]
        codes, scales = to_fp8(tensor, size)
        tensors[name] = codes
        tensors[f"{name}_scale_inv" if layout == "block" else f"{name}_scale"] = (
            scales.reshape(1) if layout == "tensor" else scales
        )
    own: dict[str, object] = {
        "quant_method": "fp8",
        "weight_block_size": list(block),
        "activation_scheme": "dynamic",
    }
    return _save(folder, tensors, own if layout == "block" else _compressed(layout))


def make_mxfp4(folder: Path) -> Path:
    """Store the experts of a gpt-oss in MXFP4, in place."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors(folder).items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = to_mxfp4(tensor)
        else:
            tensors[name] = tensor
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    return _save(folder, tensors, {"quant_method": "mxfp4", "modules_to_not_convert": kept})


def _tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _compressed(layout: str) -> dict[str, object]:
    weights = {"num_bits": 8, "type": "float", "strategy": layout, "symmetric": True, "dynamic": False}
    inputs = {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True, "dynamic": True}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs},
        },
    }


def _save(folder: Path, tensors: dict[str, Tensor], config: dict[str, object]) -> Path:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    say(folder, quantization_config=config)
    return folder
