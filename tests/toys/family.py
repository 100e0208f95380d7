"""A family of a test: StarCoder 2. What is assigned here is one entry of `FAMILIES`."""

from quantize_lib.architecture.families import Family

MODEL_TYPE = "starcoder2"
FAMILY = Family(
    blocks="model.layers",
    layers={
        "self_attn.q_proj": ("hidden", "q"),
        "self_attn.k_proj": ("hidden", "kv"),
        "self_attn.v_proj": ("hidden", "kv"),
        "self_attn.o_proj": ("q", "hidden"),
        "mlp.c_fc": ("hidden", "mlp"),
        "mlp.c_proj": ("mlp", "hidden"),
    },
    embedding="model.embed_tokens",
    base_prefix="model",
    key_value_heads=2,
)
