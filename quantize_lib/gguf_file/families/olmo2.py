"""OLMo 2: norms of what attention and feed-forward layers give."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import AROUND, SILU, UNTIED, Family

FAMILY = Family(
    name="olmo2",
    architecture="olmo2",
    such_as="OLMo 2",
    wanted={**SILU, **UNTIED, "attention_bias": (None, False)},
    whole_heads=True,
    scaled=("linear", "yarn"),
    layers=AROUND,
    in_transformers=False,
)
