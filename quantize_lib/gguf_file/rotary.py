"""Rotary embeddings in a GGUF file: their base, and how those of long texts are scaled.

Source: convert_hf_to_gguf.py of llama.cpp (MIT licence), in the version that llama-cpp-python 0.3.36 brings
(conversion/base.py, llama.py and phi.py; of YaRN's attention factor src/llama-context.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter

_LLAMA_3, _LINEAR, _YARN, _LONG = "llama3", "linear", "yarn", "longrope"
_LENGTH = "original_max_position_embeddings"
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    _LLAMA_3: ("factor", "low_freq_factor", "high_freq_factor", _LENGTH),
    _LINEAR: ("factor",),
    _YARN: ("factor", _LENGTH),
    _LONG: (_LENGTH,),
}
"""Kinds of scaling → the numbers that they need."""
_BETAS: Mapping[str, float] = {"beta_fast": 32.0, "beta_slow": 1.0}
"""Of YaRN, with what they are where a config does not say them."""
_ATTENTION, _SHARE = "attention_factor", "partial_rotary_factor"
_FACTORS: Mapping[str, str] = {
    "rope_factors_long.weight": "long_factor",
    "rope_factors_short.weight": "short_factor",
}
"""Tensors of a file with LongRoPE → keys of the config."""
_LLAMA_3_FACTORS = "rope_freqs.weight"
FACTORS = (_LLAMA_3_FACTORS, *_FACTORS)
"""Tensors that `rotary_tensors` gives."""


def rotary_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of its rotary embedding; where layers differ, of those that see everything."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = found if isinstance(found, Mapping) else {}
    every = found.get("full_attention")
    return every if isinstance(every, Mapping) else found


def is_scaled(config: Mapping[str, Any]) -> bool:
    """Whether the embedding is scaled, which transformers does not read back from a file."""
    return _kind(config) is not None


def rotary_width(config: Mapping[str, Any], head: int, share: float | None) -> int:
    """How much of a head the embedding turns.

    Args:
        head: its width.
        share: `Family.rotary_share`.
    """
    if share is None:
        return head
    told = rotary_of(config).get(_SHARE, config.get(_SHARE))
    return int(head * float(share if told is None else told))


def rotary_refusal(
    config: Mapping[str, Any], kinds: tuple[str, ...], head: int, share: float | None
) -> str | None:
    """Why an embedding has no place in such a file; None where it has.

    Args:
        kinds: of scaling that llama.cpp knows for the family.
        head, share: as `rotary_width`'s.
    """
    told = _told(config)
    for key in ("rope_theta", _SHARE):
        value = told.get(key, config.get(key))
        if value is not None and not _is_number(value):
            return f"the {key} of its rotary embedding is no number above zero"
    turned = told.get(_SHARE, config.get(_SHARE))
    if share is None and turned not in (None, 1):
        return f"llama.cpp turns all of each head for this model type, and {turned} of it is turned here"
    kind = _kind(config)
    if kind is None:
        return None
    if kind not in kinds:
        return f"llama.cpp is not known to scale rotary embeddings so for this model type (rope_type {kind})"
    for key in _NUMBERS[kind]:
        if not _is_number(told.get(key)):
            return f"config.json does not say the {key} of its rotary embedding"
    if kind == _LLAMA_3 and told["high_freq_factor"] <= told["low_freq_factor"]:
        return "the high_freq_factor of its rotary embedding is not above the low_freq_factor"
    if kind == _YARN:
        return _yarn_refusal(told)
    return _long_refusal(told, rotary_width(config, head, share) // 2) if kind == _LONG else None


def _yarn_refusal(told: Mapping[str, Any]) -> str | None:
    """llama.cpp makes the factor of the attention from the other one, and takes no other."""
    for key in _BETAS:
        if told.get(key) is not None and not _is_number(told[key]):
            return f"the {key} of its rotary embedding is no number above zero"
    if told.get("mscale") and told.get("mscale_all_dim"):
        return "llama.cpp does not take mscale of the rotary embedding for this model type"
    if told.get("truncate") is False:
        return "llama.cpp always truncates the range in which YaRN scales (truncate: false here)"
    wanted = 0.1 * math.log(max(told["factor"], 1.0)) + 1
    found = told.get(_ATTENTION)
    if found is not None and not (_is_number(found) and math.isclose(found, wanted, rel_tol=1e-4)):
        return f"llama.cpp takes {wanted:.4g} for the {_ATTENTION} of its rotary embedding ({found} here)"
    return None


def _long_refusal(told: Mapping[str, Any], pairs: int) -> str | None:
    if told[_LENGTH] <= 1:
        return f"the {_LENGTH} of its rotary embedding is not above one"
    for key in ("factor", _ATTENTION):
        if told.get(key) is not None and not _is_number(told[key]):
            return f"the {key} of its rotary embedding is no number above zero"
    for key in _FACTORS.values():
        values = told.get(key)
        if not isinstance(values, list) or len(values) != pairs or not all(map(_is_number, values)):
            return f"the {key} of its rotary embedding is no list of {pairs} numbers above zero"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def rotary_base(config: Mapping[str, Any], theta: float) -> float:
    """The base of the embedding's angles.

    Args:
        theta: where the config does not say it.
    """
    return float(rotary_of(config).get("rope_theta") or config.get("rope_theta") or theta)


def write_rotary(writer: GGUFWriter, config: Mapping[str, Any], theta: float) -> None:
    """Write what a file says of the embedding beside `rotary_tensors`.

    Args:
        theta: as `rotary_base`'s.
    """
    from gguf import RopeScalingType

    writer.add_rope_freq_base(rotary_base(config, theta))
    kind, told = _kind(config), _told(config)
    if kind == _LINEAR:
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(told["factor"]))
    elif kind == _YARN:
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(told["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(told[_LENGTH]))
        fast, slow = (float(told.get(key) or default) for key, default in _BETAS.items())
        writer.add_rope_scaling_yarn_beta_fast(fast)
        writer.add_rope_scaling_yarn_beta_slow(slow)
    elif kind == _LONG:
        writer.add_rope_scaling_type(RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(int(told[_LENGTH]))
        writer.add_rope_scaling_attn_factors(_long_attention(config, told))


def rotary_tensors(config: Mapping[str, Any], width: int, theta: float) -> dict[str, list[float]]:
    """By what the frequencies of each pair are divided, by the names of the tensors that say it.

    Args:
        width: `rotary_width`.
        theta: as `rotary_base`'s.
    """
    kind, told = _kind(config), _told(config)
    if kind == _LONG:
        return {name: [float(value) for value in told[key]] for name, key in _FACTORS.items()}
    return {_LLAMA_3_FACTORS: _llama_3(told, width, rotary_base(config, theta))} if kind == _LLAMA_3 else {}


def by_context(config: Mapping[str, Any]) -> int | None:
    """The longest context for which llama.cpp turns short texts as transformers does; None for any."""
    return int(_told(config)[_LENGTH]) if _kind(config) == _LONG else None


def _llama_3(told: Mapping[str, Any], width: int, base: float) -> list[float]:
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


def _long_attention(config: Mapping[str, Any], told: Mapping[str, Any]) -> float:
    """By what LongRoPE scales sines and cosines, as transformers takes it."""
    if told.get(_ATTENTION) is not None:
        return float(told[_ATTENTION])
    length = float(told[_LENGTH])
    factor = float(told.get("factor") or config["max_position_embeddings"] / length)
    return math.sqrt(1 + math.log(factor) / math.log(length)) if factor > 1 else 1.0


def _told(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of the embedding; the length for which it was made counts where it stands beside it."""
    beside = config.get(_LENGTH)
    return rotary_of(config) if beside is None else {**rotary_of(config), _LENGTH: beside}


def _kind(config: Mapping[str, Any]) -> str | None:
    told = rotary_of(config)
    kind = told.get("rope_type") or told.get("type")
    return None if kind in (None, "default") else str(kind)
