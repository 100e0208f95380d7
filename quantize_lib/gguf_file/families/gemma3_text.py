"""The text models of Gemma 3: to llama.cpp much as Gemma 2."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.gguf_file.families import gemma2

FAMILY = replace(
    gemma2.FAMILY,
    name="gemma3_text",
    architecture="gemma3",
    such_as="Gemma 3 270M and 1B",
    scaled=("linear",),
    theta=1e6,
)
