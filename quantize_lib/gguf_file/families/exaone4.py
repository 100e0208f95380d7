"""EXAONE 4 without attention windows: the small one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.gguf_file.families.entry import AROUND, SILU, Family

_WITH_WINDOWS = 64


def _refusal(config: Mapping[str, Any]) -> str | None:
    if config["num_hidden_layers"] == _WITH_WINDOWS:
        return f"llama.cpp has attention windows in models of this type with {_WITH_WINDOWS} layers"
    return None


FAMILY = Family(
    name="exaone4",
    architecture="exaone4",
    such_as="EXAONE-4.0-1.2B",
    where="without attention windows",
    wanted={**SILU, "sliding_window": (None,)},
    scaled=("llama3", "linear"),
    whole_heads=True,
    layers=AROUND,
    in_transformers=False,
    refusal=_refusal,
)
