"""AWQ (Lin et al. 2023, arXiv 2306.00978)."""

from __future__ import annotations

from quantize_lib.methods.columns import ColumnMethod
from quantize_lib.methods.common import (
    ALLOW_PARTIAL,
    EFFORT,
    FAST,
    GROUP_SIZE,
    MODULES_TO_NOT_CONVERT,
    OVERRIDES,
    TARGET_BITS,
    TARGET_SIZE,
)
from quantize_lib.methods.entry import InputShape
from quantize_lib.methods.settings import Settings


class _Awq(ColumnMethod):
    def folds(self, settings: Settings) -> bool:
        return True

    def remark(self, settings: Settings) -> str | None:
        if settings[EFFORT] == FAST:
            return None
        own = "Scales and clipping are AWQ's; the codes were found column by column, as GPTQ finds them."
        learned = super().remark(settings)
        return own if learned is None else f"{own} {learned}"

    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        search = 2 * shape.square + 4 * shape.largest
        if settings[EFFORT] == FAST:
            return search
        return self.column_bytes(shape, settings, scaled=True, choosing=search)

    def kept_bytes(self, shape: InputShape, settings: Settings) -> int:
        return 0 if settings[EFFORT] == FAST else super().kept_bytes(shape, settings)

    def scaled_bytes(self, weights: int, settings: Settings) -> int:
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
    settings=(
        *(GROUP_SIZE, TARGET_BITS, TARGET_SIZE, EFFORT, MODULES_TO_NOT_CONVERT, OVERRIDES, ALLOW_PARTIAL),
    ),
    always_hashed=("group_size", "modules_to_not_convert"),
    not_taken={
        "desc_act": "AWQ keeps the order of the columns",
        "sym": "AWQ's GEMM format always has zero points",
    },
    formats=("awq", "gptq", "compressed-tensors"),
    rounder="quantize_lib.engine.methods.awq:Awq",
    # What matters is how choices compare, and its codes are found in the same way.
    tried_by="gptq",
)
