"""bitsandbytes: NF4 and FP4 in 4 bits, LLM.int8 in 8 bits, made with the library's own functions.

Sources: Dettmers et al. 2023, QLoRA (arXiv 2305.14314), section 3, for NF4 and double quantization;
Dettmers et al. 2022, LLM.int8() (arXiv 2208.07339), section 3, for 8 bits.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import BlockInput, BlockOutput, CellContext, LinearInput
from quantize_lib.engine.methods.base import Method
from quantize_lib.errors import EngineError
from quantize_lib.methods.settings import Settings

_OUTLIER_THRESHOLD = 6.0
"""LLM.int8 computes input columns with a value this large in 16 bits (section 3.2 of the paper)."""
_FLOAT16_MAX = torch.finfo(torch.float16).max


class BitsAndBytes(Method):
    """The tensors that transformers with bitsandbytes saves for the same model, byte for byte."""

    needs_statistics: ClassVar[bool] = False

    def quantize(self, block: BlockInput, settings: Settings) -> BlockOutput:
        """Quantize one block; see `Method.quantize`.

        Raises:
            EngineError: where a layer asks for other bits than the cell, or does not fit into float16.
        """
        tensors: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        modules: dict[str, nn.Module] = {}
        for name, linear in block.linears.items():
            if linear.bits != settings.bits:
                raise EngineError(
                    f"{name} asks for {linear.bits} bits in a bitsandbytes cell of {settings.bits} bits",
                    hint="A bitsandbytes checkpoint has one bit width; leave the layer unconverted.",
                )
            # transformers quantizes the tensor in the dtype that the model has on disk.
            weight = linear.weight.to(block.dtype).contiguous()
            if settings.bits == 4:
                packed, weights[name] = _four_bit(weight, settings)
            else:
                packed, weights[name] = _eight_bit(name, weight)
                modules[name] = _int8_linear(linear, packed)
            tensors.update({f"{name}.{part}": value.cpu() for part, value in packed.items()})
            if linear.bias is not None:
                tensors[f"{name}.bias"] = linear.bias.to(block.dtype).cpu()
        return BlockOutput(tensors=tensors, weights=weights, modules=modules)

    def quantization_config(self, context: CellContext) -> dict[str, Any]:
        """What transformers writes for the same settings, with the skipped modules by full name."""
        from transformers import BitsAndBytesConfig

        settings = context.settings
        four = settings.bits == 4
        config = cast(Any, BitsAndBytesConfig)(
            load_in_4bit=four,
            load_in_8bit=not four,
            llm_int8_threshold=_OUTLIER_THRESHOLD,
            # An empty list, not None: None would let transformers choose for itself.
            llm_int8_skip_modules=[*context.kept, *context.outside],
            **(
                {
                    "bnb_4bit_quant_type": settings.quant_type,
                    "bnb_4bit_use_double_quant": settings.double_quant,
                    "bnb_4bit_compute_dtype": context.dtype,
                }
                if four
                else {}
            ),
        )
        return cast(dict[str, Any], json.loads(config.to_json_string(use_diff=False)))


def _four_bit(weight: Tensor, settings: Settings) -> tuple[dict[str, Tensor], Tensor]:
    """The saved parts of a 4-bit weight, and what they mean: float32 (out, in)."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight, compress_statistics=settings.double_quant, quant_type=settings.quant_type
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
        threshold=_OUTLIER_THRESHOLD,
        device="meta",
    )
    module.weight = Int8Params(
        parts["weight"], requires_grad=False, has_fp16_weights=False, CB=parts["weight"], SCB=parts["SCB"]
    )
    if linear.bias is not None:
        module.bias = nn.Parameter(linear.bias.clone(), requires_grad=False)
    return cast(nn.Module, module.eval())
