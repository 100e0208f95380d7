"""OLMo 3: to llama.cpp an OLMo 2, with attention windows in some blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.families import olmo2
from quantize_lib.gguf_file.rotary import rotary_base

if TYPE_CHECKING:
    from gguf import GGUFWriter

_THETA = 5e5
_WINDOW = "sliding_attention"


def _refusal(config: Mapping[str, Any]) -> str | None:
    told = config.get("rope_parameters") or {}
    local = told.get(_WINDOW) or {}
    if not isinstance(local, Mapping) or (told and "full_attention" not in told):
        return "rope_parameters in config.json do not say which blocks they are for"
    bases = {rotary_base(local, _THETA), rotary_base(config, _THETA)}
    if local.get("rope_type") not in (None, "default") or len(bases) > 1:
        return "llama.cpp turns by one base everywhere for this model type, and scales nothing in windows"
    found = config["layer_types"]
    known = isinstance(found, list) and set(found) <= {_WINDOW, "full_attention"}
    if not known or len(found) != config["num_hidden_layers"]:
        return "config.json does not say for each block whether it has an attention window (layer_types)"
    return None


def _write(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern([kind == _WINDOW for kind in config["layer_types"]])


FAMILY = replace(
    olmo2.FAMILY,
    name="olmo3",
    such_as="OLMo 3",
    where="with its attention windows",
    needed=("sliding_window", "layer_types"),
    theta=_THETA,
    own_window=True,
    refusal=_refusal,
    write=_write,
)
