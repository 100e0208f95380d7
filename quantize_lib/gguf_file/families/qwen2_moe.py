"""Mixtures of Qwen 1.5 and 2, whose tokens all go to a shared expert, too."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import (
    EVERY_LAYER,
    MLP_EXPERTS,
    NO_WINDOW,
    SILU,
    UNTIED,
    Experts,
    Family,
)

FAMILY = Family(
    name="qwen2_moe",
    architecture="qwen2moe",
    such_as="Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    where="with experts in every block",
    wanted={**SILU, **NO_WINDOW, **EVERY_LAYER, **UNTIED, "norm_topk_prob": (None, False)},
    whole_heads=True,
    scaled=("linear", "yarn"),
    layers={
        **MLP_EXPERTS,
        "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
        "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
        "mlp.shared_expert.up_proj": "ffn_up_shexp",
        "mlp.shared_expert.down_proj": "ffn_down_shexp",
    },
    experts=Experts(shared_width="shared_expert_intermediate_size"),
    own_window=True,
)
