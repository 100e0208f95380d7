"""GGUF: llama.cpp's block quantization (legacy and K-quants), with an importance matrix from the pass."""

from __future__ import annotations

from quantize_lib.gguf_file.types import FILE_TYPES
from quantize_lib.methods.common import AUTO_BITS, MODULES_TO_NOT_CONVERT, TARGET_BITS, TARGET_SIZE
from quantize_lib.methods.entry import InputShape, Method
from quantize_lib.methods.settings import Setting, Settings

RESULT = "gguf"
"""Blocks of ggml's types."""

TYPE: Setting[str] = Setting(
    name="type",
    default="Q4_K_M",
    words={
        "title": "Type of the file",
        "description": "In place of `bits`: a type of llama.cpp's, or a list of them, each a file. "
        + "; ".join(f"`{name}`: {kind.title}" for name, kind in FILE_TYPES.items())
        + f"; `{AUTO_BITS}`: each tensor gets its own, by `{TARGET_BITS.name}` or `{TARGET_SIZE.name}`.",
        "enum": [*FILE_TYPES, AUTO_BITS],
        "errorMessage": "not a type of GGUF files that is made here",
    },
    label="type",
    whose="it stands in place of bits for gguf",
)


class _Gguf(Method):
    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        # Blocks take less than half of the weights, and what they mean as much again.
        return 2 * shape.largest


METHOD = _Gguf(
    name="gguf",
    slug="gguf",
    also_called=("llama.cpp", "k-quant", "k-quants"),
    title="GGUF",
    order=7,
    summary="`gguf`",
    bits=(4, 5, 6, 8),
    bits_note=f"it has `type` in place of bits, `type: {AUTO_BITS}` among them",
    calibrated=True,
    settings=(TYPE, TARGET_BITS, TARGET_SIZE, MODULES_TO_NOT_CONVERT),
    always_hashed=("type", "modules_to_not_convert"),
    not_taken={"group_size": "the type says how many weights share a scale"},
    result=RESULT,
    formats=("gguf",),
    rounder="quantize_lib.engine.methods.gguf:Gguf",
    width=TYPE,
    width_bits={name: kind.bits for name, kind in FILE_TYPES.items()},
)
