"""SmolLM3: every fourth block has no rotary embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.gguf_file.families.entry import NO_BIASES, NO_WINDOW, SILU, Family

_STEP = 4


def _refusal(config: Mapping[str, Any]) -> str | None:
    wanted = [int((block + 1) % _STEP != 0) for block in range(config["num_hidden_layers"])]
    found = config.get("no_rope_layers")
    if (wanted if found is None else found) != wanted or config.get("no_rope_layer_interval", _STEP) != _STEP:
        return f"llama.cpp leaves out the rotary embedding in every {_STEP}th block of this model type"
    return None


FAMILY = Family(
    name="smollm3",
    architecture="smollm3",
    such_as="SmolLM3-3B",
    alternating=True,
    wanted={**SILU, **NO_BIASES, **NO_WINDOW},
    theta=2e6,
    scaled=("linear", "yarn"),
    own_window=True,
    in_transformers=False,
    refusal=_refusal,
)
