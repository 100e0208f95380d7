"""What the layouts of compressed-tensors have in common; the entry is in `compressed_tensors`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from quantize_lib.formats.context import CheckpointContext
from quantize_lib.formats.entry import Format
from quantize_lib.formats.loaders import FUSED_EXPERTS, LISTED_EXPERTS, OWN_LAYERS, WANT_WEIGHTS
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.traits import Traits
from quantize_lib.methods.settings import Scheme

LIBRARY = "0.20.1"
"""The release of compressed-tensors whose words and bytes these are; nobody checks it."""
DEQUANTIZE = "dequantize"
"""transformers' other way of loading: weights are unpacked while they are read, not at the first forward."""

_REFUSED: Mapping[str, str] = {
    # transformers leaves experts in the dtype of their scales; this class alone multiplies without a cast.
    "longcat_flash": "transformers loads its experts in another dtype than the rest, and cannot compute so",
}
"""Model types that plain transformers 5.23 loads and cannot run, with the reason."""
DEQUANTIZED = WANT_WEIGHTS | OWN_LAYERS | {"blt", "xlstm"}
"""Model types that transformers loads with `dequantize` alone: their layers stay what they are. The last two
ask what is an nn.Linear for its weight, as layers of this format are."""
_EXPERTS = r"re:.*experts\.\d+\..*"
"""Matches experts, which are no modules in transformers: it looks for them in the targets."""


class CompressedTensors(Format):
    """One layout of compressed-tensors.

    Attributes:
        layout_name: in the config's words.
    """

    name = "compressed-tensors"
    order = 3
    summary = "`compressed-tensors` (pack-quantized, which vLLM keeps investing in, and FP8, NVFP4 and MXFP4)"
    quant_method = "compressed-tensors"
    layout_name: ClassVar[str]
    as_loaded = True
    requirements = ("transformers", "accelerate", "compressed-tensors")

    def refuses(self, traits: Traits) -> str | None:
        if traits.conv1d:
            return "its loaders replace nn.Linear alone, and would leave this model's Conv1D layers random"
        return _REFUSED.get(traits.model_type)

    def leaves_experts(self, traits: Traits) -> str | None:
        fused = traits.fused_experts and traits.model_type not in LISTED_EXPERTS
        return FUSED_EXPERTS if fused else None

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What `compressed_tensors.QuantizationConfig` dumps for the same (a test compares them)."""
        by_scheme: dict[Scheme, dict[str, None]] = {}
        for name, scheme in context.quantized.items():
            target = _EXPERTS if name in context.experts else context.modules.get(name, name)
            by_scheme.setdefault(scheme, {})[target] = None
        # Most bits first, groups before rows: with `dequantize`, transformers reads every layer by the first
        # group's words. In this order that fails where it would otherwise load wrong weights without an
        # error.
        order = sorted(by_scheme, key=lambda scheme: (-scheme[0], scheme[1] < 0, scheme[1]))
        groups = [
            self._group(["Linear"] if len(order) == 1 else by_scheme[scheme], scheme) for scheme in order
        ]
        config: dict[str, Any] = {
            "config_groups": {f"group_{number}": group for number, group in enumerate(groups)},
            "quant_method": self.quant_method,
            "kv_cache_scheme": None,
            "format": self.layout_name,
            "quantization_status": "compressed",
            "global_compression_ratio": None,
            "ignore": [*context.kept, *context.outside],
            "moe_sparsity_config": None,
            "version": LIBRARY,
        }
        if self.dequantizes(context.traits.model_type):
            config[DEQUANTIZE] = True
        return config

    def dequantizes(self, model_type: str) -> bool:
        """Whether transformers is to unpack a model of that type while it loads it."""
        return model_type in DEQUANTIZED

    def _group(self, targets: Iterable[str], scheme: Scheme) -> dict[str, Any]:
        return {
            "targets": list(targets),
            "weights": self.weights(scheme),
            "input_activations": self.inputs(),
            "output_activations": None,
            "format": self.layout_name,
        }

    @abstractmethod
    def weights(self, scheme: Scheme) -> dict[str, Any]:
        """How weights are rounded, in the config's words."""

    def inputs(self) -> dict[str, Any] | None:
        """How inputs are, in the config's words; None for not at all."""
        return None

    def modes(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        """The other way of loading too, where it reads the checkpoint right: with one scheme."""
        if len(quantization["config_groups"]) > 1 or quantization.get(DEQUANTIZE):
            return ("",)
        return ("", DEQUANTIZE)

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        if request.mode != DEQUANTIZE:
            return load_with_transformers(request)
        from transformers import CompressedTensorsConfig

        return load_with_transformers(request, CompressedTensorsConfig(dequantize=True))
