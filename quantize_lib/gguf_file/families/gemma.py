"""Gemma, the first."""

from __future__ import annotations

from quantize_lib.gguf_file.families.entry import Family

FAMILY = Family(
    name="gemma",
    architecture="gemma",
    such_as="Gemma 2B and 7B",
    wanted={
        "hidden_act": (None, "gelu_pytorch_tanh"),
        "attention_bias": (None, False),
        "use_bidirectional_attention": (None, False),
        "tie_word_embeddings": (None, True),
    },
    needed=("head_dim",),
    shifted=True,
    in_transformers=False,
)
