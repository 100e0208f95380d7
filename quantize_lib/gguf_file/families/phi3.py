"""Phi 3 and 4: one layer for queries, keys and values, one for gate and up."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="phi3",
    architecture="phi3",
    such_as="Phi 3.5 mini, Phi 4",
    where="without an attention window shorter than the texts",
    wanted={**SILU, "attention_bias": (None, False)},
    whole_heads=True,
    scaled=("linear", "longrope"),
    rotary_share=1.0,
    layers={"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"},
)
