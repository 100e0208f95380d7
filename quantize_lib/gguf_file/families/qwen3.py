"""Qwen 3."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import NO_WINDOW, SILU, Family

FAMILY = Family(
    name="qwen3",
    architecture="qwen3",
    such_as="Qwen 3",
    where="without an attention window",
    wanted={**SILU, **NO_WINDOW, "attention_bias": (None, False)},
    scaled=("linear", "yarn"),
    own_window=True,
    by_config=False,
)
