"""OLMoE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.gguf_file.families.entry import MLP_EXPERTS, SILU, UNTIED, Experts, Family


def _refusal(config: Mapping[str, Any]) -> str | None:
    heads = config["num_attention_heads"]
    if config.get("num_key_value_heads", heads) not in (None, heads):
        return "llama.cpp takes as many heads for keys and values as for queries for this model type"
    return None


FAMILY = Family(
    name="olmoe",
    architecture="olmoe",
    such_as="OLMoE-1B-7B",
    where="without clipping",
    wanted={
        **SILU,
        **UNTIED,
        "attention_bias": (None, False),
        "clip_qkv": (None,),
        "norm_topk_prob": (None, False),
    },
    whole_heads=True,
    scaled=("linear", "yarn"),
    layers=MLP_EXPERTS,
    experts=Experts(width=""),
    in_transformers=False,
    refusal=_refusal,
)
