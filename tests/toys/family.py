"""A family of a test: StarCoder 2. What is assigned here is one entry of `family_table.FAMILIES`."""

from quantize_lib.architecture.family import Family, Switch, biases, norms

MODEL_TYPE = "starcoder2"
LAYERS = {
    "self_attn.q_proj": ("hidden", "q"),
    "self_attn.k_proj": ("hidden", "kv"),
    "self_attn.v_proj": ("hidden", "kv"),
    "self_attn.o_proj": ("q", "hidden"),
    "mlp.c_fc": ("hidden", "mlp"),
    "mlp.c_proj": ("mlp", "hidden"),
}
FAMILY = Family(
    blocks="model.layers",
    layers=LAYERS,
    embedding="model.embed_tokens",
    inside=(
        *biases(LAYERS, LAYERS, Switch(key="use_bias", default=True)),
        *norms("input_layernorm", "post_attention_layernorm", bias=True),
    ),
    outside=norms("model.norm", bias=True),
    base_prefix="model",
    key_value_heads=2,
    tied=True,
)
