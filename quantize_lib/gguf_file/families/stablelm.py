"""StableLM."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, UNTIED, Family

FAMILY = Family(
    name="stablelm",
    architecture="stablelm",
    such_as="StableLM 2 1.6B, StableLM 3B",
    where="without parallel residuals",
    wanted={
        **SILU,
        **UNTIED,
        "qk_layernorm": (None, False),
        "use_parallel_residual": (None, False),
    },
    whole_heads=True,
    scaled=("linear",),
    rotary_share=0.25,
    layer_norm="layer_norm_eps",
)
