"""Qwen 2 and 2.5."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import NO_WINDOW, SILU, Family

FAMILY = Family(
    name="qwen2",
    architecture="qwen2",
    such_as="Qwen 2 and 2.5",
    where="without an attention window",
    wanted={**SILU, **NO_WINDOW},
    whole_heads=True,
    scaled=("linear", "yarn"),
    own_window=True,
    by_config=False,
)
