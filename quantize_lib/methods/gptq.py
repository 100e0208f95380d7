"""GPTQ (Frantar et al. 2022, arXiv 2210.17323)."""

from __future__ import annotations

from quantize_lib.methods.columns import ColumnMethod
from quantize_lib.methods.common import (
    ALLOW_PARTIAL,
    EFFORT,
    GROUP_SIZE,
    MODULES_TO_NOT_CONVERT,
    OVERRIDES,
    TARGET_BITS,
    TARGET_SIZE,
)
from quantize_lib.methods.settings import Setting

DAMPING = 0.15
"""What is added to each entry of the diagonal at first, as a fraction of that entry.

GPTQ (section 3.3, step 3) adds a fraction of the mean to all of them: quiet inputs drown in it, loud ones do
not feel it. Of each its own lets all correlations between inputs count for less, by one factor: shrinkage
towards the diagonal, as in Schäfer and Strimmer 2005 (doi 10.2202/1544-6115.1175). What that gains is in
docs/explanation/accuracy.md.
"""

DESC_ACT = Setting(
    name="desc_act",
    default=False,
    words={
        "title": "Descending activation order",
        "description": "Whether groups follow the order of quantization, with a `g_idx` at run time: slower "
        "to run. Without it the columns are still quantized in descending order.",
        "type": "boolean",
    },
    label="descending activation order (desc_act)",
)
SYM = Setting(
    name="sym",
    default=True,
    words={
        "title": "Symmetric",
        "description": "Whether the codes are symmetric around zero; with `false` each group has a zero "
        "point.",
        "type": "boolean",
    },
    label="symmetric",
)

METHOD = ColumnMethod(
    name="gptq",
    slug="gptq",
    title="GPTQ",
    order=1,
    summary="`gptq`",
    bits=(2, 3, 4, 8),
    bits_note="its packed format has these widths only",
    experimental=(2, 3),
    calibrated=True,
    settings=(
        *(GROUP_SIZE, TARGET_BITS, TARGET_SIZE, EFFORT, DESC_ACT, SYM, MODULES_TO_NOT_CONVERT, OVERRIDES),
        ALLOW_PARTIAL,
    ),
    always_hashed=("group_size", "desc_act", "sym", "modules_to_not_convert", "overrides"),
    formats=("gptq", "compressed-tensors"),
    symmetric=SYM,
    reordered=DESC_ACT,
    rounder="quantize_lib.engine.methods.gptq:Gptq",
)
