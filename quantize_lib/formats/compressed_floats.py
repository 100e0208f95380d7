"""compressed-tensors' layouts of small floating-point numbers: FP8 with rounded inputs, NVFP4, MXFP4.

They are the package's presets FP8_DYNAMIC, FP8_BLOCK, NVFP4A16 and MXFP4A16 (a test compares them), and of
its compressors' bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.formats import marlin
from quantize_lib.formats.compressed_base import DEQUANTIZE, CompressedTensors
from quantize_lib.formats.context import Misfit
from quantize_lib.formats.loaders import LISTED_EXPERTS
from quantize_lib.formats.rounded import Floats, InputRounding, RoundedLayer
from quantize_lib.formats.served import SERVERS, VLLM, Served
from quantize_lib.formats.traits import Traits
from quantize_lib.methods import Settings, fp8, get_method, mxfp4, nvfp4
from quantize_lib.methods.settings import Scheme
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

_E8M0_BIAS = 127


class _FloatLayout(CompressedTensors):
    """A layout of one kind of numbers.

    Attributes:
        experts_fault: what transformers does to the experts of a mixture; None where it reads them.
    """

    experts_fault: ClassVar[str | None] = None

    def wrote(self, quantization: Mapping[str, Any]) -> bool:
        """Whether a checkpoint's `quantization_config` is of this layout."""
        return quantization.get("format") == self.layout_name

    def leaves_experts(self, traits: Traits) -> str | None:
        if self.experts_fault is None:
            return super().leaves_experts(traits)
        # Of those that it replaces by a list of modules each is a layer like any other.
        return self.experts_fault if traits.experts and traits.model_type not in LISTED_EXPERTS else None


class _Fp8(_FloatLayout):
    """`float-quantized`: weights as they are, with scales beside; inputs are rounded as they come."""

    layout_name = "float-quantized"
    result = fp8.RESULT
    bits = (8,)
    bits_note = "FP8 has 8 bits"
    strategy: ClassVar[str] = "channel"
    input_group: ClassVar[int | None] = None
    limit = (
        "Inputs of the quantized layers are rounded to 8 bits too, each time: that is how this format is "
        "run, with FP8 units or simulated. transformers leaves them as they are when it loads with "
        "CompressedTensorsConfig(dequantize=True), and in the experts of a mixture."
    )

    def wrote(self, quantization: Mapping[str, Any]) -> bool:
        if not super().wrote(quantization):
            return False
        groups = quantization["config_groups"].values()
        return all(group["weights"]["strategy"] == self.strategy for group in groups)

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        return dict.fromkeys(SERVERS, f"FP8 units; {marlin.MARLIN} where a GPU has none")

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        return in_features * out_features + 4 * out_features, 2

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        """`weight` float8_e4m3fn (out, in), `weight_scale` float32 (out, 1), or one for each block."""
        floats = _floats_of(layer)
        return {"weight": floats.values, "weight_scale": floats.scales}

    def weights(self, scheme: Scheme) -> dict[str, Any]:
        return {
            "num_bits": 8,
            "type": "float",
            "symmetric": True,
            "group_size": None,
            "strategy": self.strategy,
            "dynamic": False,
        }

    def inputs(self) -> dict[str, Any]:
        return {
            "num_bits": 8,
            "type": "float",
            "symmetric": True,
            "group_size": self.input_group,
            "strategy": "token" if self.input_group is None else "group",
            "dynamic": True,
        }

    def rounds_inputs(self, model_type: str) -> InputRounding | None:
        return None if self.dequantizes(model_type) else InputRounding(group=self.input_group)

    def rounds_less(self, mode: str, quantization: Mapping[str, Any]) -> bool:
        return mode == DEQUANTIZE

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        if quantization.get(DEQUANTIZE):
            return super().precision(dtype, quantization)
        return Precision.ROUNDED_INPUTS


class _Fp8Block(_Fp8):
    strategy = "block"
    input_group = fp8.BLOCK_SIZE
    experts_fault = "transformers multiplies experts with scales of whole outputs only"

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        if in_features % fp8.BLOCK_SIZE == 0:
            return None
        return Misfit(
            side="input",
            size=in_features,
            reason=f"{fp8.BLOCK_SIZE} inputs share a scale as they are rounded; "
            f"{fp8.SCALES.name}: {fp8.CHANNEL} takes every size",
        )

    def shard_misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        if out_features % fp8.BLOCK_SIZE:
            reason = f"{fp8.BLOCK_SIZE} outputs of a part share a scale"
            return Misfit(side="output", size=out_features, reason=reason)
        return super().shard_misfit(in_features, out_features, bits)

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        blocks = -(-in_features // fp8.BLOCK_SIZE) * -(-out_features // fp8.BLOCK_SIZE)
        return in_features * out_features + 4 * blocks, 2

    def weights(self, scheme: Scheme) -> dict[str, Any]:
        return {**super().weights(scheme), "block_structure": [fp8.BLOCK_SIZE, fp8.BLOCK_SIZE]}


class _Fp4(_FloatLayout):
    """Two numbers in a byte, with scales of small groups; inputs stay what they are."""

    bits = (4,)
    servers = (VLLM,)
    group: ClassVar[int]
    scale_dtype: ClassVar[str]
    limit = (
        "Only weights have 4 bits here: inputs are not rounded, so that units for FP4 products have no part. "
        "transformers unpacks the weights as it loads them."
    )

    def dequantizes(self, model_type: str) -> bool:
        # At the first forward the package makes bfloat16 of them, which transformers cannot multiply with
        # inputs in any other dtype.
        return True

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        if in_features % self.group == 0:
            return None
        return Misfit(side="input", size=in_features, reason=f"{self.group} weights share a scale")

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        # Of the group sizes of these two it has kernels of its own.
        return {VLLM: marlin.MARLIN} if marlin.takes(shards, None) else {}

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        return out_features * (in_features / 2 + in_features / self.group), 2

    def weights(self, scheme: Scheme) -> dict[str, Any]:
        return {
            "num_bits": 4,
            "type": "float",
            "symmetric": True,
            "group_size": self.group,
            "strategy": "group",
            "dynamic": False,
            "scale_dtype": self.scale_dtype,
        }


class _Nvfp4(_Fp4):
    layout_name = "nvfp4-pack-quantized"
    result = nvfp4.RESULT
    bits_note = "NVFP4 has 4 bits"
    group = nvfp4.GROUP
    scale_dtype = "torch.float8_e4m3fn"
    experts_fault = "transformers reads experts without the scale of their scales, and so wrong"

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        count, tensors = super().layer_bytes(
            in_features, out_features, bits=bits, groups=groups, settings=settings
        )
        return count + 4, tensors + 1

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        """`weight_packed` uint8 (out, in / 2), `weight_scale` float8_e4m3fn (out, groups),
        `weight_global_scale` float32 (1,)."""
        import torch

        from quantize_lib.packing.nibbles import pack_pairs

        floats = _floats_of(layer)
        assert floats.whole is not None, "E4M3 scales have a scale of their own"
        return {
            "weight_packed": pack_pairs(floats.values),
            "weight_scale": floats.scales.to(torch.float8_e4m3fn),
            "weight_global_scale": floats.whole,
        }

    def weights(self, scheme: Scheme) -> dict[str, Any]:
        return {**super().weights(scheme), "strategy": "tensor_group"}


class _Mxfp4(_Fp4):
    layout_name = "mxfp4-pack-quantized"
    result = mxfp4.RESULT
    bits_note = "MXFP4 has 4 bits"
    group = mxfp4.GROUP
    scale_dtype = "torch.uint8"

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        """`weight_packed` uint8 (out, in / 2), `weight_scale` uint8 (out, groups): exponents plus 127."""
        import torch

        from quantize_lib.packing.nibbles import pack_pairs

        floats = _floats_of(layer)
        # A power of two is half of two to its `frexp` exponent.
        exponents = floats.scales.frexp().exponent - 1
        return {
            "weight_packed": pack_pairs(floats.values),
            "weight_scale": (exponents + _E8M0_BIAS).to(torch.uint8),
        }


LAYOUTS: tuple[_FloatLayout, ...] = (_Fp8(), _Fp8Block(), _Nvfp4(), _Mxfp4())


def layout_of(settings: Settings) -> CompressedTensors:
    """The layout of a cell whose method gives small floating-point numbers."""
    wanted = get_method(settings.method).result
    by_block = wanted == fp8.RESULT and settings[fp8.SCALES] == fp8.BLOCK
    return next(
        layout for layout in LAYOUTS if layout.result == wanted and isinstance(layout, _Fp8Block) == by_block
    )


def _floats_of(layer: RoundedLayer) -> Floats:
    assert layer.floats is not None, "a method of this layout gives small floating-point numbers"
    return layer.floats
