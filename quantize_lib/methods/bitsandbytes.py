"""bitsandbytes: NF4 and FP4 (QLoRA, arXiv 2305.14314) in 4 bits, LLM.int8 (arXiv 2208.07339) in 8."""

from __future__ import annotations

from quantize_lib.methods.common import ALLOW_PARTIAL, MODULES_TO_NOT_CONVERT
from quantize_lib.methods.entry import Method
from quantize_lib.methods.settings import Setting

RESULT = "bitsandbytes"
"""The library's own tensors."""
OUTLIER_THRESHOLD = 6.0
"""LLM.int8 computes input columns with a value this large in 16 bits (section 3.2 of the paper)."""

QUANT_TYPE = Setting(
    name="quant_type",
    default="nf4",
    words={"title": "4-bit data type", "description": "`nf4` or `fp4`.", "enum": ["nf4", "fp4"]},
    label="4-bit type",
    whose="it chooses the 4-bit data type of bitsandbytes",
    bits=(4,),
    bits_note="LLM.int8 has one data type",
)
DOUBLE_QUANT = Setting(
    name="double_quant",
    default=True,
    words={
        "title": "Double quantization",
        "description": "Whether the scales are quantized as well.",
        "type": "boolean",
    },
    label="double quantization",
    bits=(4,),
)

METHOD = Method(
    name="bitsandbytes",
    slug="bnb",
    also_called=("bnb", "int8"),
    title="bitsandbytes",
    order=3,
    summary="`bitsandbytes`",
    bits=(4, 8),
    bits_note="it has NF4 and FP4 in 4 bits and LLM.int8 in 8 bits",
    calibrated=False,
    settings=(MODULES_TO_NOT_CONVERT, QUANT_TYPE, DOUBLE_QUANT, ALLOW_PARTIAL),
    always_hashed=("modules_to_not_convert", "quant_type", "double_quant"),
    not_taken={"group_size": "its block sizes are fixed"},
    result=RESULT,
    formats=("bitsandbytes",),
    rounder="quantize_lib.engine.methods.bitsandbytes:BitsAndBytes",
    library_bytes=60_000_000,
)
