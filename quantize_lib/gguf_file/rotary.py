"""Rotary embeddings in a GGUF file: their base, and how those of long texts are scaled.

Source: convert_hf_to_gguf.py of llama.cpp (MIT licence), in the version that llama-cpp-python 0.3.36 brings
(conversion/llama.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter

_THETA = 10_000.0
"""Of configs that do not say it."""
_LLAMA_3, _LINEAR = "llama3", "linear"
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    _LLAMA_3: ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    _LINEAR: ("factor",),
}
"""Kinds of scaling → the numbers that they need."""


def rotary_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of its rotary embedding; where layers differ, of those that see everything."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = found if isinstance(found, Mapping) else {}
    every = found.get("full_attention")
    return every if isinstance(every, Mapping) else found


def is_scaled(config: Mapping[str, Any]) -> bool:
    """Whether the embedding is scaled, which transformers does not read back from a file."""
    return _kind(config) is not None


def rotary_refusal(config: Mapping[str, Any], kinds: tuple[str, ...]) -> str | None:
    """Why an embedding has no place in such a file; None where it has.

    Args:
        kinds: of scaling that llama.cpp knows for the family.
    """
    kind = _kind(config)
    if kind is None:
        return None
    if kind not in kinds:
        return f"llama.cpp is not known to scale rotary embeddings so for this model type (rope_type {kind})"
    told = rotary_of(config)
    for key in _NUMBERS[kind]:
        value = told.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            return f"config.json does not say the {key} of its rotary embedding"
    if kind == _LLAMA_3 and told["high_freq_factor"] <= told["low_freq_factor"]:
        return "the high_freq_factor of its rotary embedding is not above the low_freq_factor"
    return None


def rotary_base(config: Mapping[str, Any]) -> float:
    """The base of the embedding's angles."""
    return float(rotary_of(config).get("rope_theta") or config.get("rope_theta") or _THETA)


def write_rotary(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """Write what a file says of the embedding beside `rotary_factors`."""
    from gguf import RopeScalingType

    writer.add_rope_freq_base(rotary_base(config))
    if _kind(config) == _LINEAR:
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rotary_of(config)["factor"]))


def rotary_factors(config: Mapping[str, Any], width: int) -> list[float] | None:
    """By what the frequencies of each pair are divided, as Llama 3.1 does it; None where they are not.

    Args:
        width: of a head.
    """
    if _kind(config) != _LLAMA_3:
        return None
    told, base = rotary_of(config), rotary_base(config)
    factor, low, high, length = (float(told[key]) for key in _NUMBERS[_LLAMA_3])

    def divisor(pair: int) -> float:
        wave = 2 * math.pi * math.pow(base, 2 * pair / width)
        if wave < length / high:
            return 1.0
        if wave > length / low:
            return factor
        smooth = (length / wave - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)

    return [divisor(pair) for pair in range(width // 2)]


def _kind(config: Mapping[str, Any]) -> str | None:
    told = rotary_of(config)
    kind = told.get("rope_type") or told.get("type")
    return None if kind in (None, "default") else str(kind)
