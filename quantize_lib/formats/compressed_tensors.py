"""compressed-tensors' `pack-quantized`, which vLLM serves and plain transformers loads.

Each row of a layer is one dense stream of bits; there are no zero points, so codes are symmetric. Bits and
group size may differ from layer to layer. Read by the package compressed-tensors 0.18 and later (3 bits;
other widths 0.15).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.formats.entry import CheckpointContext, Format, Traits, codes_of
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.methods import Settings

if TYPE_CHECKING:
    from torch import Tensor

LIBRARY = "0.20.1"
"""The release of compressed-tensors whose words and bytes these are; nobody checks it."""
DEQUANTIZE = "dequantize"
"""transformers' other way of loading: weights are unpacked while they are read, not at the first forward."""
_LAYOUT = "pack-quantized"
_EXACT_IN_HALF = 4
"""A scale has 8 significant bits and a code of 4 bits has 3 more, which a float16 product holds exactly; a
code of 8 bits has 7 more. Loading with `dequantize` multiplies in the dtype of the scales on disk."""

Scheme = tuple[int, int]
"""Bits, and inputs in a group (-1: one group for each output)."""


class _CompressedTensors(Format):
    name = "compressed-tensors"
    order = 3
    summary = "`compressed-tensors` (pack-quantized, which vLLM keeps investing in)"
    quant_method = "compressed-tensors"
    bits = (2, 3, 4, 8)
    bits_note = "its loaders have been tried with these widths"
    symmetric_only = True
    mixed = True
    fixed: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "sym": (True, "transformers reads zero points in one of its two ways of loading only"),
        "desc_act": (False, "its loaders know groups of neighbouring inputs only"),
    }
    limit = (
        "The codes are symmetric in this format: there are no zero points, whatever the method would have "
        "elsewhere. It is loaded with the package compressed-tensors, 0.18 or later."
    )
    requirements = ("transformers", "accelerate", "compressed-tensors")

    def refuses(self, traits: Traits) -> str | None:
        if traits.conv1d:
            return "its loaders replace nn.Linear alone, and would leave this model's Conv1D layers random"
        return None

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        words = -(-in_features * bits // 32)
        return out_features * (4 * words + groups * (2 if bits <= _EXACT_IN_HALF else 4)) + 16, 3

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        """`weight_packed` int32 (out, words), `weight_scale` (out, groups), `weight_shape` int64 (2,)."""
        import torch

        from quantize_lib.packing.integers import pack_stream

        codes = codes_of(layer)
        exact = torch.float16 if codes.bits <= _EXACT_IN_HALF else torch.float32
        return {
            "weight_packed": pack_stream(codes.values, codes.bits),
            "weight_scale": codes.scales.to(exact),
            "weight_shape": torch.tensor(codes.values.shape, dtype=torch.int64),
        }

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What `compressed_tensors.QuantizationConfig` dumps for the same (a test compares them)."""
        by_scheme: dict[Scheme, list[str]] = {}
        for name, scheme in context.quantized.items():
            by_scheme.setdefault(scheme, []).append(name)
        # Most bits first, groups before rows: with `dequantize`, transformers reads every layer by the first
        # group's words. In this order that fails where it would otherwise load wrong weights without an
        # error.
        order = sorted(by_scheme, key=lambda scheme: (-scheme[0], scheme[1] < 0, scheme[1]))
        groups = [_group(["Linear"] if len(order) == 1 else by_scheme[scheme], scheme) for scheme in order]
        return {
            "config_groups": {f"group_{number}": group for number, group in enumerate(groups)},
            "quant_method": self.quant_method,
            "kv_cache_scheme": None,
            "format": _LAYOUT,
            "quantization_status": "compressed",
            "global_compression_ratio": None,
            "ignore": [*context.kept, *context.outside],
            "moe_sparsity_config": None,
            "version": LIBRARY,
        }

    def modes(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        """The other way of loading too, where it reads the checkpoint right: with one scheme."""
        return ("", DEQUANTIZE) if len(quantization["config_groups"]) == 1 else ("",)

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        if request.mode != DEQUANTIZE:
            return load_with_transformers(request)
        from transformers import CompressedTensorsConfig

        return load_with_transformers(request, CompressedTensorsConfig(dequantize=True))

    def limits(self, settings: Settings) -> tuple[str, ...]:
        if not settings.overrides:
            return (self.limit,)
        return (
            self.limit,
            "Its layers differ in bits or group size: load it as shown, without "
            "CompressedTensorsConfig(dequantize=True), which transformers gets wrong for such a checkpoint. "
            "vLLM serves it only where layers that it fuses (q, k and v; gate and up) are alike.",
        )


def _group(targets: Iterable[str], scheme: Scheme) -> dict[str, Any]:
    bits, size = scheme
    return {
        "targets": list(targets),
        "weights": {
            "num_bits": bits,
            "type": "int",
            "symmetric": True,
            "group_size": size if size > 0 else None,
            "strategy": "group" if size > 0 else "channel",
            "dynamic": False,
        },
        "input_activations": None,
        "output_activations": None,
        "format": _LAYOUT,
    }


FORMAT = _CompressedTensors()
