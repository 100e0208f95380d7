"""AutoAWQ's GEMM format: 4 bits with zero points."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from quantize_lib.formats import marlin
from quantize_lib.formats.context import BlockShape, CheckpointContext, Misfit
from quantize_lib.formats.entry import Format, codes_of
from quantize_lib.formats.loaders import WANT_WEIGHTS, WANTS_WEIGHTS
from quantize_lib.formats.loading import (
    Loaded,
    LoadRequest,
    gptqmodel_precision,
    keep_dequantized_by_gptqmodel,
    load_with_transformers,
    plain_backend,
)
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.served import SERVERS, Served
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.usage import gptqmodel_install
from quantize_lib.methods import Settings
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

_PACKED_OUTPUTS = 8
"""Outputs that share one 32-bit word."""
_SLOW_GROUP = 16
"""GPTQModel picks a CPU kernel for this group size that then refuses it; its plain torch kernel does not."""


class _Awq(Format):
    name = "awq"
    order = 2
    summary = "`awq` (AutoAWQ's GEMM)"
    quant_method = "awq"
    bits = (4,)
    bits_note = "AWQ's GEMM format has kernels for 4 bits only"
    exclusive = True
    fixed: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "overrides": ((), "it has one bit width and one group size for all layers")
    }
    requirements = ("transformers", "accelerate", "optimum", "gptqmodel")
    limit = "AWQ's layers are loaded through GPTQModel, also by transformers."

    def refuses(self, traits: Traits) -> str | None:
        if traits.conv1d:
            return "AWQ loaders replace nn.Linear alone, and this model's layers are Conv1D"
        if traits.experts:
            return "plain transformers would load the experts of a mixture with random weights"
        return WANTS_WEIGHTS if traits.model_type in WANT_WEIGHTS else None

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        if out_features % _PACKED_OUTPUTS:
            return Misfit(
                side="output", size=out_features, reason=f"AWQ packs {_PACKED_OUTPUTS} outputs into one word"
            )
        return None

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        fast = marlin.takes(shards, served.group_size)
        return dict.fromkeys(SERVERS, marlin.MARLIN if fast else "AWQ GEMM, in float16")

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        return in_features * out_features * bits / 8 + groups * out_features * (bits / 8 + 2), 3

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        from quantize_lib.packing.gemm import pack_gemm

        codes = codes_of(layer)
        return pack_gemm(codes.values, codes.zeros, codes.scales)

    def additions(self, block: BlockShape) -> dict[str, Tensor]:
        """Ones for the scaled activations that transformers puts into some families' blocks for AWQ."""
        import torch
        from transformers.integrations.awq import AWQ_SCALES_MAPPINGS

        mapping = AWQ_SCALES_MAPPINGS.get(block.model_type)
        if mapping is None:
            return {}
        found = {}
        for name, width in block.widths.items():
            parent, _, leaf = name.rpartition(".")
            if leaf == mapping["layer_before_act"]:
                found[f"{parent}.{mapping['act']}.scales"] = torch.ones(width)
        return found

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What transformers, GPTQModel and vLLM read as AWQ."""
        config = {
            "quant_method": self.quant_method,
            "bits": context.settings.bits,
            "group_size": context.group_size,
            "zero_point": True,
            "sym": False,
            "desc_act": False,
            "version": "gemm",
            "format": "gemm",
            "modules_to_not_convert": [*context.kept, *context.outside] or None,
        }
        if context.group_size == _SLOW_GROUP:
            config["backend"] = "torch_awq"
        return config

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        backend = plain_backend(request, "torch_awq")
        if backend is None:
            return load_with_transformers(request)
        from transformers import AwqConfig

        # Of this only the kernel is taken; the rest is the checkpoint's.
        asked = cast(Any, AwqConfig)(bits=quantization["bits"], backend=backend)
        return load_with_transformers(request, asked)

    def keep_dequantized(self, model: Any) -> bool:
        return keep_dequantized_by_gptqmodel(model)

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        return gptqmodel_precision(dtype, quantization["bits"])

    def install(self, versions: Mapping[str, str]) -> str:
        return gptqmodel_install(versions)


FORMAT = _Awq()
