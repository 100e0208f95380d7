"""Mixtures of Qwen 3."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import EVERY_LAYER, MLP_EXPERTS, NO_WINDOW, SILU, Experts, Family

FAMILY = Family(
    name="qwen3_moe",
    architecture="qwen3moe",
    such_as="Qwen3-30B-A3B, Qwen3-Coder-30B-A3B",
    where="with experts in every block",
    wanted={
        **SILU,
        **NO_WINDOW,
        **EVERY_LAYER,
        "attention_bias": (None, False),
        # Its class does not without the key.
        "norm_topk_prob": (True,),
    },
    scaled=("linear", "yarn"),
    layers=MLP_EXPERTS,
    experts=Experts(),
    own_window=True,
)
