"""Granite 3: a Llama with scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.families.entry import NO_BIASES, SILU, Family

if TYPE_CHECKING:
    from gguf import GGUFWriter


def _write(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_attention_scale(config["attention_multiplier"])
    writer.add_embedding_scale(config["embedding_multiplier"])
    writer.add_residual_scale(config["residual_multiplier"])
    writer.add_logit_scale(config["logits_scaling"])


FAMILY = Family(
    name="granite",
    architecture="granite",
    such_as="Granite 3",
    alternating=True,
    wanted={**SILU, **NO_BIASES},
    needed=("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"),
    scaled=("linear", "yarn"),
    in_transformers=False,
    write=_write,
)
