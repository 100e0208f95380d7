"""Mixtral, to llama.cpp a Llama with experts."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import SILU, Experts, Family

FAMILY = Family(
    name="mixtral",
    architecture="llama",
    such_as="Mixtral 8x7B and 8x22B",
    where="without an attention window",
    alternating=True,
    wanted=SILU,
    theta=1e6,
    scaled=("llama3", "linear", "yarn"),
    layers={
        "block_sparse_moe.gate": "ffn_gate_inp",
        "block_sparse_moe.experts.*.w1": "ffn_gate_exps",
        "block_sparse_moe.experts.*.w3": "ffn_up_exps",
        "block_sparse_moe.experts.*.w2": "ffn_down_exps",
    },
    experts=Experts(width=""),
    # Its loader takes the file for a Llama's, and knows no tensor of a Mixtral's class.
    in_transformers=False,
)
