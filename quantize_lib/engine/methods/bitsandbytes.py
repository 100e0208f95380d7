"""bitsandbytes: NF4 and FP4 in 4 bits, LLM.int8 in 8 bits, made with the library's own functions.

Sources: Dettmers et al. 2023, QLoRA (arXiv 2305.14314), section 3, for NF4 and double quantization;
Dettmers et al. 2022, LLM.int8() (arXiv 2208.07339), section 3, for 8 bits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import BlockInput, Drift, LinearInput, RoundedBlock
from quantize_lib.engine.methods.base import Rounder, Rounding
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Grid, RoundedLayer
from quantize_lib.methods import Settings
from quantize_lib.methods.bitsandbytes import DOUBLE_QUANT, OUTLIER_THRESHOLD, QUANT_TYPE

_FLOAT16_MAX = torch.finfo(torch.float16).max


class BitsAndBytes(Rounder):
    """The tensors that transformers with bitsandbytes saves for the same model, byte for byte."""

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See `Rounder.begin`. The library has grids of its own, and makes up for nothing."""
        return _Each(block, settings)


class _Each(Rounding):
    """Layer by layer."""

    def __init__(self, block: BlockInput, settings: Settings) -> None:
        self._block = block
        self._settings = settings

    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        """See `Rounding.round`.

        Raises:
            EngineError: where a layer asks for other bits than the cell, or does not fit into float16.
        """
        block, settings = self._block, self._settings
        layers: dict[str, RoundedLayer] = {}
        modules: dict[str, nn.Module] = {}
        for name in names:
            linear = block.linears[name]
            if linear.bits != settings.bits:
                raise EngineError(
                    f"{name} asks for {linear.bits} bits in a bitsandbytes cell of {settings.bits} bits",
                    hint="A bitsandbytes checkpoint has one bit width; leave the layer unconverted.",
                )
            # transformers quantizes the tensor in the dtype that the model has on disk.
            weight = linear.weight.to(block.dtype).contiguous()
            if settings.bits == 4:
                parts, meaning = _four_bit(weight, settings)
            else:
                parts, meaning = _eight_bit(name, weight)
                modules[name] = _int8_linear(linear, parts)
            layers[name] = RoundedLayer(weight=meaning, parts=parts, bias=linear.bias)
        return RoundedBlock(layers=layers, modules=modules)


def _four_bit(weight: Tensor, settings: Settings) -> tuple[dict[str, Tensor], Tensor]:
    """The saved parts of a 4-bit weight, and what they mean: float32 (out, in)."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight, compress_statistics=settings[DOUBLE_QUANT], quant_type=settings[QUANT_TYPE]
    )
    parts = {"weight": packed}
    parts.update({f"weight.{key}": value for key, value in state.as_dict(packed=True).items()})
    return parts, functional.dequantize_4bit(packed, state).float()


def _eight_bit(name: str, weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The saved parts of an 8-bit weight, and what they mean: float32 (out, in)."""
    from bitsandbytes import functional

    if bool(weight.abs().max() > _FLOAT16_MAX):
        raise EngineError(
            f"{name} has weights beyond {_FLOAT16_MAX:.0f}, which LLM.int8 cannot hold",
            hint="Keep the layer in full precision (modules_to_not_convert) or choose another method.",
        )
    codes, row_max, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
    # 0 is bitsandbytes' number for row-major storage.
    parts = {"weight": codes, "SCB": row_max, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return parts, functional.int8_vectorwise_dequant(codes, row_max)


def _int8_linear(linear: LinearInput, parts: dict[str, Tensor]) -> nn.Module:
    """bitsandbytes' own layer: it quantizes its input too, so a product with the weights would not do."""
    from bitsandbytes.nn.modules import Int8Params, Linear8bitLt

    out_features, in_features = linear.weight.shape
    module = Linear8bitLt(
        in_features,
        out_features,
        bias=linear.bias is not None,
        has_fp16_weights=False,
        threshold=OUTLIER_THRESHOLD,
        device="meta",
    )
    module.weight = Int8Params(
        parts["weight"], requires_grad=False, has_fp16_weights=False, CB=parts["weight"], SCB=parts["SCB"]
    )
    if linear.bias is not None:
        module.bias = nn.Parameter(linear.bias.clone(), requires_grad=False)
    return cast(nn.Module, module.eval())
