"""compressed-tensors: whole-number codes as `pack-quantized`, which vLLM serves and plain transformers loads.

Each row of a layer is one dense stream of bits; there are no zero points, so codes are symmetric. Bits and
group size may differ from layer to layer. Read by the package compressed-tensors 0.18 and later (3 bits;
other widths 0.15). The layouts of small floating-point numbers are in `compressed_floats`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.formats import marlin
from quantize_lib.formats.compressed_base import CompressedTensors
from quantize_lib.formats.compressed_floats import LAYOUTS, layout_of
from quantize_lib.formats.context import Misfit
from quantize_lib.formats.entry import Format, codes_of
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.served import SERVERS, VLLM, Served
from quantize_lib.formats.traits import Traits
from quantize_lib.methods import Method, Settings, get_method
from quantize_lib.methods.common import is_mixed
from quantize_lib.methods.settings import Scheme

if TYPE_CHECKING:
    from torch import Tensor

_WORD = 32
_EXACT_IN_HALF = 4
"""A scale has 8 significant bits and a code of 4 bits has 3 more, which a float16 product holds exactly; a
code of 8 bits has 7 more. Loading with `dequantize` multiplies in the dtype of the scales on disk."""


class _PackQuantized(CompressedTensors):
    layout_name = "pack-quantized"
    bits = (2, 3, 4, 8)
    bits_note = "its loaders have been tried with these widths"
    symmetric_only = True
    # Measured beside other quantizers: docs/explanation/benchmarks.md.
    served_low = (3,)
    mixed = True
    fixed: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "sym": (True, "transformers reads zero points in one of its two ways of loading only"),
        "desc_act": (False, "its loaders know groups of neighbouring inputs only"),
    }
    limit = (
        "The codes are symmetric in this format: there are no zero points, whatever the method would have "
        "elsewhere. It is loaded with the package compressed-tensors, 0.18 or later."
    )

    def holds(self, method: Method) -> bool:
        return super().holds(method) or any(layout.result == method.result for layout in LAYOUTS)

    def alike(self, traits: Traits) -> str | None:
        if self.dequantizes(traits.model_type):
            return (
                "transformers unpacks this model's layers as it reads them, and then knows one width for all"
            )
        return super().alike(traits)

    def of(self, settings: Settings) -> Format:
        return self if super().holds(get_method(settings.method)) else layout_of(settings)

    def reading(self, quantization: Mapping[str, Any]) -> Format:
        found = (layout for layout in LAYOUTS if layout.wrote(quantization))
        return next(found, self)

    def shard_misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        if in_features * bits % _WORD == 0:
            return None
        reason = f"{bits}-bit codes of a part fill whole {_WORD}-bit words only"
        return Misfit(side="input", size=in_features, reason=reason)

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        if served.bits in marlin.BITS and marlin.takes(shards, served.group_size):
            return dict.fromkeys(SERVERS, marlin.MARLIN)
        return {VLLM: f"a slower one than {marlin.MARLIN}"}

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        words = -(-in_features * bits // _WORD)
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

    def weights(self, scheme: Scheme) -> dict[str, Any]:
        bits, size = scheme
        return {
            "num_bits": bits,
            "type": "int",
            "symmetric": True,
            "group_size": size if size > 0 else None,
            "strategy": "group" if size > 0 else "channel",
            "dynamic": False,
        }

    def cautions(self, settings: Settings, traits: Traits) -> tuple[str, ...]:
        if not is_mixed(settings):
            return ()
        return (
            "Its layers differ in bits or group size: load it as shown, without "
            "CompressedTensorsConfig(dequantize=True), which transformers gets wrong for such a checkpoint. "
            "vLLM serves it only where layers that it fuses (q, k and v; gate and up) are alike.",
        )


FORMAT = _PackQuantized()
