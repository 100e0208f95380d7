"""Llama, and what has its class: SmolLM2, TinyLlama."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import NO_BIASES, SILU, Family

FAMILY = Family(
    name="llama",
    order=0,
    architecture="llama",
    such_as="Llama 2 and 3, SmolLM2, TinyLlama",
    where="without biases",
    alternating=True,
    names_width=True,
    wanted={**SILU, **NO_BIASES},
    scaled=("llama3", "linear", "yarn"),
    by_config=False,
)
