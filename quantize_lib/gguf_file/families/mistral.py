"""Mistral, to llama.cpp a Llama."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="mistral",
    architecture="llama",
    alternating=True,
    names_width=True,
    wanted=SILU,
    # transformers loads such a file as a Llama, and none with a Mistral's config, which scaling would need.
    scaled=(),
    by_config=False,
)
