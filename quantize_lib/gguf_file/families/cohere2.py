"""Command R7B: the last of every four blocks sees everything, and has no rotary embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.families.entry import SILU, Family, other_pattern

if TYPE_CHECKING:
    from gguf import GGUFWriter


def _refusal(config: Mapping[str, Any]) -> str | None:
    return other_pattern(config, every=4)


def _write(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_logit_scale(config["logit_scale"])
    writer.add_sliding_window(config["sliding_window"])


FAMILY = Family(
    name="cohere2",
    architecture="cohere2",
    such_as="Command R7B",
    where="with its attention windows",
    wanted={**SILU, "attention_bias": (None, False), "tie_word_embeddings": (None, True)},
    needed=("sliding_window", "logit_scale"),
    whole_heads=True,
    scaled=(),
    layer_norm="layer_norm_eps",
    own_window=True,
    in_transformers=False,
    refusal=_refusal,
    write=_write,
)
