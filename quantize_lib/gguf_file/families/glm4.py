"""GLM-4 (0414): norms around every layer, rotary embeddings in half of a head."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Family

FAMILY = Family(
    name="glm4",
    architecture="glm4",
    such_as="GLM-4-9B-0414",
    wanted=SILU,
    scaled=("linear",),
    rotary_share=0.5,
    layers={
        "mlp.gate_up_proj": "ffn_up",
        "post_self_attn_layernorm": "post_attention_norm",
        "post_attention_layernorm": "ffn_norm",
        "post_mlp_layernorm": "post_ffw_norm",
    },
    in_transformers=False,
)
