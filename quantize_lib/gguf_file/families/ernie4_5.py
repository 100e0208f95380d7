"""ERNIE 4.5, dense."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="ernie4_5",
    architecture="ernie4_5",
    such_as="ERNIE-4.5-0.3B",
    where="without biases",
    wanted={**SILU, "use_bias": (None, False)},
    theta=5e5,
    scaled=("linear", "yarn"),
    in_transformers=False,
)
