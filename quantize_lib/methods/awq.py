"""AWQ (Lin et al. 2023, arXiv 2306.00978)."""

from __future__ import annotations

from quantize_lib.methods.common import GROUP_SIZE, MODULES_TO_NOT_CONVERT, OVERRIDES
from quantize_lib.methods.entry import InputShape, Method


class _Awq(Method):
    def working_bytes(self, shape: InputShape) -> int:
        return 2 * shape.square + 4 * shape.largest

    def scaled_bytes(self, weights: int) -> int:
        return weights


METHOD = _Awq(
    name="awq",
    slug="awq",
    title="AWQ",
    order=2,
    summary="`awq`",
    bits=(2, 3, 4, 8),
    bits_note="no loader has other widths",
    experimental=(2, 3),
    calibrated=True,
    folds=True,
    settings=(GROUP_SIZE, MODULES_TO_NOT_CONVERT, OVERRIDES),
    always_hashed=("group_size", "modules_to_not_convert"),
    not_taken={
        "desc_act": "AWQ keeps the order of the columns",
        "sym": "AWQ's GEMM format always has zero points",
    },
    formats=("awq", "gptq", "compressed-tensors"),
    rounder="quantize_lib.engine.methods.awq:Awq",
)
