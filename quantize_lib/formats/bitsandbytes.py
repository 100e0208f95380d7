"""What transformers with bitsandbytes saves: the library's own tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from quantize_lib.formats.entry import CheckpointContext, Format
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.usage import Usage
from quantize_lib.methods import Settings
from quantize_lib.methods.bitsandbytes import DOUBLE_QUANT, OUTLIER_THRESHOLD, QUANT_TYPE, RESULT
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

_NF4_BLOCK = 64
_NESTED_BLOCK = 256
_NF4_TABLE_BYTES = 16 * 4
_NESTED_TABLE_BYTES = 256 * 4


class _BitsAndBytes(Format):
    name = "bitsandbytes"
    order = 4
    summary = "`bitsandbytes` (as transformers saves it)"
    quant_method = "bitsandbytes"
    bits = (4, 8)
    bits_note = "it has NF4 and FP4 in 4 bits and LLM.int8 in 8 bits"
    result = RESULT
    exclusive = True
    one_dtype = True
    limit = "The layers need the bitsandbytes library wherever they are loaded."
    requirements = ("transformers", "accelerate", "bitsandbytes")

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        values = in_features * out_features
        if bits == 8:
            return values + 4 * out_features, 4
        blocks = ceil(values / _NF4_BLOCK)
        nested = blocks + 4 * ceil(blocks / _NESTED_BLOCK) + _NESTED_TABLE_BYTES
        return values / 2 + (nested if settings[DOUBLE_QUANT] else 4 * blocks) + _NF4_TABLE_BYTES, 6

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        assert layer.parts is not None, "a method of this format gives the library's own tensors"
        return dict(layer.parts)

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What transformers writes for the same settings, with the skipped modules by full name."""
        from transformers import BitsAndBytesConfig

        settings = context.settings
        four = settings.bits == 4
        config = cast(Any, BitsAndBytesConfig)(
            load_in_4bit=four,
            load_in_8bit=not four,
            llm_int8_threshold=OUTLIER_THRESHOLD,
            # An empty list, not None: None would let transformers choose for itself.
            llm_int8_skip_modules=[*context.kept, *context.outside],
            **(
                {
                    "bnb_4bit_quant_type": settings[QUANT_TYPE],
                    "bnb_4bit_use_double_quant": settings[DOUBLE_QUANT],
                    "bnb_4bit_compute_dtype": context.dtype,
                }
                if four
                else {}
            ),
        )
        return cast(dict[str, Any], json.loads(config.to_json_string(use_diff=False)))

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        """In the checkpoint's own dtype, whatever was asked for.

        Asked for another, transformers leaves the weights of norms as they are and converts their biases,
        which PyTorch's LayerNorm refuses.
        """
        return load_with_transformers(replace(request, dtype="auto"))

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        if quantization["load_in_8bit"]:
            return Precision.INT8_ACTIVATIONS
        return super().precision(dtype, quantization)

    def usage(self, use: Usage) -> dict[str, str]:
        return {**super().usage(use), "vllm": " ".join(use.vllm("--quantization", "bitsandbytes"))}


FORMAT = _BitsAndBytes()
