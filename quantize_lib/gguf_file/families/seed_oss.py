"""Seed-OSS."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="seed_oss",
    architecture="seed_oss",
    such_as="Seed-OSS-36B",
    wanted={**SILU, "attention_out_bias": (None, False), "mlp_bias": (None, False)},
    scaled=("linear", "yarn"),
    layers={"post_attention_layernorm": "post_attention_norm"},
    in_transformers=False,
)
