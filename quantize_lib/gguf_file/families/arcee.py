"""Arcee's AFM: a Llama whose feed-forward layers have no gate."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import NO_BIASES, Family

FAMILY = Family(
    name="arcee",
    architecture="arcee",
    such_as="AFM-4.5B",
    alternating=True,
    wanted={"hidden_act": (None, "relu2"), **NO_BIASES},
    scaled=("llama3", "linear", "yarn"),
    in_transformers=False,
)
