"""Mistral, to llama.cpp a Llama."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="mistral",
    architecture="llama",
    such_as="Mistral 7B v0.2 and later, Nemo",
    where="without an attention window",
    alternating=True,
    names_width=True,
    wanted=SILU,
    # transformers loads such a file as a Llama, and none with a Mistral's config, which scaling would need.
    scaled=(),
    by_config=False,
)
