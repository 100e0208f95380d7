"""FP8: E4M3 (Micikevicius et al. 2022, arXiv 2209.05433) for weights, and for inputs as they come."""

from __future__ import annotations

from quantize_lib.methods.common import ALLOW_PARTIAL, MODULES_TO_NOT_CONVERT
from quantize_lib.methods.entry import InputShape, Method
from quantize_lib.methods.settings import Setting, Settings

RESULT = "fp8"
"""E4M3 numbers with a scale for each output, or for each square block."""
CHANNEL, BLOCK = "channel", "block"
BLOCK_SIZE = 128
"""Of a block's sides, and of a group of inputs: the one size that loaders' kernels take (DeepSeek-V3, arXiv
2412.19437, section 3.3.2)."""

SCALES = Setting(
    name="scales",
    default=CHANNEL,
    words={
        "title": "Scales",
        "description": "What shares a scale. `channel`: the weights of an output, and all inputs of a token. "
        f"`block`: weights in squares of {BLOCK_SIZE} by {BLOCK_SIZE}, and {BLOCK_SIZE} inputs of a token.",
        "enum": [CHANNEL, BLOCK],
    },
    label="scales",
    whose="it chooses what shares a scale in FP8",
)


class _Fp8(Method):
    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        # Scales spread over a layer, its weights divided by them, clamped, as bytes, and what these mean.
        return 4 * shape.largest


METHOD = _Fp8(
    name="fp8",
    slug="fp8",
    also_called=("float8", "fp8_dynamic", "fp8_block", "w8a8-fp8"),
    title="FP8",
    order=4,
    summary="`fp8`",
    bits=(8,),
    bits_note="its numbers have 8 bits",
    calibrated=False,
    settings=(SCALES, MODULES_TO_NOT_CONVERT, ALLOW_PARTIAL),
    not_taken={"group_size": "`scales` says what shares a scale"},
    result=RESULT,
    formats=("compressed-tensors",),
    rounder="quantize_lib.engine.methods.fp8:Fp8",
)
