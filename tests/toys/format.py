"""A format of a test: a byte for each code. This file is all that there is of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.files import read_json
from quantize_lib.formats.context import CheckpointContext
from quantize_lib.formats.entry import Format, codes_of
from quantize_lib.formats.loading import Loaded, LoadRequest
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.methods import Settings

if TYPE_CHECKING:
    from torch import Tensor


class _Bytes(Format):
    name = "bytes"
    order = 9
    summary = "`bytes` (a byte for each code)"
    quant_method = "toy-bytes"
    bits = (2, 3, 4, 8)
    bits_note = "a byte holds no more"
    mixed = True
    limit = "Nobody but this test loads it."

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        return in_features * out_features + groups * out_features * 8, 3

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        codes = codes_of(layer)
        return {
            "codes": codes.values.contiguous(),
            "zeros": codes.zeros.float().contiguous(),
            "scales": codes.scales.float().contiguous(),
        }

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        return {"quant_method": self.quant_method, "layers": list(context.quantized)}

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        import torch
        from safetensors.torch import load_file
        from transformers import AutoConfig, AutoModelForCausalLM

        started = time.monotonic()
        folder = Path(request.folder)
        tensors = load_file(folder / "model.safetensors")
        config = AutoConfig.from_pretrained(folder)
        del config.quantization_config
        for name in quantization["layers"]:
            codes = tensors.pop(f"{name}.codes").float()
            zeros, scales = tensors.pop(f"{name}.zeros"), tensors.pop(f"{name}.scales")
            grouped = codes.reshape(*zeros.shape, -1)
            weight = (grouped - zeros[..., None]) * scales[..., None]
            tensors[f"{name}.weight"] = weight.flatten(1)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        missing = model.load_state_dict(tensors, strict=False).missing_keys
        model.tie_weights()
        tied = {"lm_head.weight"} if read_json(folder / "config.json").get("tie_word_embeddings") else set()
        return Loaded(
            model=model.eval(),
            seconds=time.monotonic() - started,
            info={"missing_keys": sorted(set(missing) - tied)},
        )


FORMAT = _Bytes()
