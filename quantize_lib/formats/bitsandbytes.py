"""What transformers with bitsandbytes saves: the library's own tensors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from quantize_lib.formats.context import CheckpointContext, Layer
from quantize_lib.formats.entry import Format
from quantize_lib.formats.loaders import (
    FOUR_DIMENSIONS,
    IN_FLOAT32_ALONE,
    KEEPS_LAYERS,
    LISTED_EXPERTS,
    OWN_LAYERS,
    ROUNDS_AGAIN,
)
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.served import VLLM, Served
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.usage import Usage
from quantize_lib.methods import Settings
from quantize_lib.methods.bitsandbytes import DOUBLE_QUANT, OUTLIER_THRESHOLD, QUANT_TYPE, RESULT
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

_NF4_BLOCK = 64
_NESTED_BLOCK = 256
_CPU_ROWS = 32
"""Of a CPU with bfloat16 units, in bitsandbytes 0.50 (`_convert_weight_packed_for_cpu`)."""
_OF_FOUR = ("kv_b_proj",)
"""Layers that models with latent attention call with four dimensions (batch, heads, tokens, channels)."""
_NO_FOUR = "LLM.int8 takes no input of four dimensions"
_CPU_TAKES = f"a CPU's kernel takes multiples of {_NF4_BLOCK} inputs and {_CPU_ROWS} outputs"
_NF4_TABLE_BYTES = 16 * 4
_NESTED_TABLE_BYTES = 256 * 4


def _fits_a_cpu(size: tuple[int, int]) -> bool:
    in_features, out_features = size
    return in_features % _NF4_BLOCK == out_features % _CPU_ROWS == 0


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
    compares_outputs = True
    # vLLM: "Prequant BitsAndBytes models with tensor parallelism is not supported".
    splits = False
    servers = (VLLM,)
    limit = "The layers need the bitsandbytes library wherever they are loaded."
    requirements = ("transformers", "accelerate", "bitsandbytes")

    def refuses(self, traits: Traits) -> str | None:
        if traits.model_type in OWN_LAYERS:
            return KEEPS_LAYERS
        if traits.model_type in IN_FLOAT32_ALONE and traits.sixteen_bits:
            return "transformers cannot compute this model in 16 bits, in which the base is stored"
        return None

    def lacks(self, traits: Traits, bits: int) -> str | None:
        if bits == 8 and traits.experts and traits.model_type in LISTED_EXPERTS:
            return "LLM.int8 rounds inputs as well, which this model's experts take all in one product"
        if bits == 4 and traits.sizes and not any(map(_fits_a_cpu, traits.sizes)):
            return f"none of its layers fits, as {_CPU_TAKES}"
        if bits == 8 and traits.model_type in FOUR_DIMENSIONS:
            return _NO_FOUR
        if bits == 4 and traits.model_type in ROUNDS_AGAIN:
            return "transformers rounds some layers of this model again as they are loaded"
        return super().lacks(traits, bits)

    def leaves_experts(self, traits: Traits) -> str | None:
        if not traits.experts or traits.model_type in LISTED_EXPERTS:
            return None
        return "transformers quantizes nn.Linear alone, and holds the experts of a mixture in tensors of all"

    def leaves(self, traits: Traits, layer: Layer, bits: int) -> str | None:
        if bits == 8 and any(layer.name.endswith(f".{name}") for name in _OF_FOUR):
            return _NO_FOUR
        if bits == 4 and not _fits_a_cpu((layer.in_features, layer.out_features)):
            return _CPU_TAKES
        return super().leaves(traits, layer, bits)

    def served_words(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        return "--quantization", self.quant_method

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        return {VLLM: "bitsandbytes' own"}

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

    def on_loading(self, quantization: Mapping[str, Any]) -> object:
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig.from_dict(dict(quantization))

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        if quantization["load_in_8bit"]:
            return Precision.ROUNDED_INPUTS
        return super().precision(dtype, quantization)

    def usage(self, use: Usage) -> dict[str, str]:
        served = " ".join(use.vllm(*self.served_words({}))) if use.task.continues else ""
        return {**super().usage(use), "vllm": served, "sglang": ""}


FORMAT = _BitsAndBytes()
