"""The container of GPTQ checkpoints, as GPTQModel, vLLM and transformers (through GPTQModel) read it.

Codes of 2, 3, 4 or 8 bits fill 32-bit words, zero points are stored minus one. It holds any grid: also AWQ's
scaled and clipped weights, for models whose layers AWQ loaders cannot replace.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from quantize_lib import __version__
from quantize_lib.formats import marlin
from quantize_lib.formats.context import CheckpointContext, Layer, Misfit
from quantize_lib.formats.entry import Format, codes_of
from quantize_lib.formats.loaders import FUSED_EXPERTS, KEEPS_LAYERS, OWN_LAYERS, WANT_WEIGHTS, WANTS_WEIGHTS
from quantize_lib.formats.loading import (
    Loaded,
    LoadRequest,
    gptqmodel_precision,
    keep_dequantized_by_gptqmodel,
    load_with_gptqmodel,
    load_with_transformers,
    plain_backend,
)
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.served import SERVERS, Served
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.usage import Usage, gptqmodel_install, gptqmodel_snippet
from quantize_lib.methods import Settings
from quantize_lib.methods.common import is_automatic, is_mixed
from quantize_lib.methods.gptq import DAMPING
from quantize_lib.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

_WORD = 32
_V1_WITH_ZEROS = "gptqmodel:0.9.0"
"""From this version on GPTQModel's zero points cannot overflow when one is added, and its loader takes format
`gptq` with sym=False only from who names it. Ours cannot either: they are at least 1."""
_UNLOADABLE: Mapping[str, tuple[str, ...]] = {
    # transformers 5.23 looks for c_proj's weight when it initializes a GPT-2, also a quantized one.
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
}
"""Linear layers, by the last parts of their names, that transformers cannot load in this format."""
_MIXTURES = frozenset({"deepseek_v2", "deepseek_v3", "olmoe", "qwen3_moe"})
"""Model types of mixtures whose experts GPTQModel 7.6 reads by the names that the Hub's files have."""
_OF_MIXTURES = (
    "Plain transformers does not read this mixture in this format: it leaves the experts random, without an "
    "error. GPTQModel reads it, and vLLM is said to."
)
_OF_SEVERAL = (
    "Its layers have several bit widths or group sizes: GPTQModel reads that, vLLM is said to, and plain "
    "transformers knows one of each in this format."
)
_BLOCK = re.compile(r"(.*?)\.(\d+)\.(.+)")
_BELOW = r"(?:\..+)?"
_SMALL_GROUP = 16
"""Inputs in a group that PyTorch's own kernel for 4 bits does not take on a CPU."""


class _Gptq(Format):
    name = "gptq"
    order = 1
    summary = "`gptq` (GPTQModel's)"
    quant_method = "gptq"
    bits = (2, 3, 4, 8)
    bits_note = "its packed format has these widths only"
    lowest_zero = 1
    mixed = True
    reorders = True
    requirements = ("transformers", "accelerate", "optimum", "gptqmodel")
    limit = "GPTQ's layers are loaded through GPTQModel, also by transformers."

    def leaves(self, traits: Traits, layer: Layer, bits: int) -> str | None:
        if any(layer.name.endswith(f".{ending}") for ending in _UNLOADABLE.get(traits.model_type, ())):
            return "transformers cannot load them in this format"
        return super().leaves(traits, layer, bits)

    def refuses(self, traits: Traits) -> str | None:
        if traits.experts and traits.model_type not in _MIXTURES and not traits.fused_experts:
            return "no loader that was tried reads this mixture's experts"
        if traits.numbered:
            return "optimum does not replace layers that are called by a number"
        if traits.model_type in OWN_LAYERS:
            return KEEPS_LAYERS
        return WANTS_WEIGHTS if traits.model_type in WANT_WEIGHTS else None

    def leaves_experts(self, traits: Traits) -> str | None:
        return FUSED_EXPERTS if traits.fused_experts else None

    def yields(self, traits: Traits, settings: Settings) -> str | None:
        if is_automatic(settings):
            return "plain transformers knows one width for all layers in it"
        if traits.experts:
            return "plain transformers would load the experts of a mixture with random weights"
        return None

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        for side, size in (("input", in_features), ("output", out_features)):
            if size * bits % _WORD:
                reason = f"{bits}-bit codes fill whole 32-bit words only"
                return Misfit(side=side, size=size, reason=reason)
        return None

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        fast = served.symmetric and served.bits in marlin.BITS and marlin.takes(shards, served.group_size)
        return dict.fromkeys(SERVERS, marlin.MARLIN if fast else "ExLlama, in float16")

    def served_words(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        symmetric = quantization.get("sym") is True
        return _served_dtype(quantization.get("bits"), quantization.get("group_size"), symmetric=symmetric)

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        zeros_and_scales = groups * out_features * (bits / 8 + 2)
        return in_features * out_features * bits / 8 + zeros_and_scales + 4 * in_features, 4

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        from quantize_lib.packing.words import pack_gptq

        codes = codes_of(layer)
        return pack_gptq(codes.values, codes.zeros, codes.scales, bits=codes.bits, g_idx=codes.group_of)

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What transformers, optimum, GPTQModel and vLLM read; the last two also `dynamic`.

        optimum knows one bit width and group size: a checkpoint with overrides loads in GPTQModel and vLLM
        only.
        """
        symmetric, bits = context.grid.symmetric, context.settings.bits
        quantizer = [f"model-quantizer:{__version__}", *([] if symmetric else [_V1_WITH_ZEROS])]
        config: dict[str, Any] = {
            "quant_method": self.quant_method,
            "bits": bits,
            "group_size": context.group_size,
            "desc_act": context.grid.reordered,
            "sym": symmetric,
            "checkpoint_format": "gptq",
            "lm_head": False,
            "damp_percent": DAMPING,
            "true_sequential": False,
            "act_group_aware": False,
            "block_name_to_quantize": context.blocks,
            "meta": {"quantizer": quantizer},
        }
        if bits == 4 and ((context.group_size == -1 and not symmetric) or context.group_size == _SMALL_GROUP):
            # GPTQModel 7.6.0 picks TorchFusedLinear for these on a CPU, which ignores the zero points of the
            # one and fails on the other.
            config["backend"] = "gptq_torch"
        if context.kept or context.experts:
            # Full names: optimum compares by ending, and what one block keeps another may quantize.
            config["modules_in_block_to_quantize"] = [_modules(context)]
        if dynamic := _dynamic(context):
            config["dynamic"] = dynamic
        return config

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        backend = plain_backend(request, "gptq_torch")
        # Whether the checkpoint mixes bits or group sizes: transformers' loader knows but one of each.
        mixed = any(pattern.startswith("+:") for pattern in quantization.get("dynamic") or {})
        if mixed or _holds_experts(quantization):
            return load_with_gptqmodel(request, backend)
        if backend is None:
            return load_with_transformers(request)
        from transformers import GPTQConfig

        # Of this only the kernel is taken; the rest is the checkpoint's.
        asked = GPTQConfig(bits=quantization["bits"], backend=backend)
        return load_with_transformers(request, asked)

    def keep_dequantized(self, model: Any) -> bool:
        return keep_dequantized_by_gptqmodel(model)

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        return gptqmodel_precision(dtype, quantization["bits"])

    def cautions(self, settings: Settings, traits: Traits) -> tuple[str, ...]:
        found = (_OF_MIXTURES,) if _is_mixture(traits) else ()
        return (*found, _OF_SEVERAL) if is_mixed(settings) else found

    def usage(self, use: Usage) -> dict[str, str]:
        dtype = _served_dtype(use.bits, use.group_size, symmetric=use.symmetric)
        words = {
            **super().usage(use),
            "vllm": " ".join(use.vllm(*dtype)),
            "sglang": " ".join(use.sglang(*dtype)),
        }
        if is_mixed(use.settings) or _is_mixture(use.traits):
            words |= {"python": gptqmodel_snippet(use.repository, use.prompt), "loader": "GPTQModel"}
        return words

    def install(self, versions: Mapping[str, str]) -> str:
        return gptqmodel_install(versions)


def _served_dtype(bits: object, group_size: object, *, symmetric: bool) -> tuple[str, ...]:
    """What servers are told of the dtype: their other kernels compute in float16 alone."""
    fast = bits in marlin.BITS and symmetric and group_size in marlin.GROUPS
    return () if fast else ("--dtype", "float16")


def _is_mixture(traits: Traits) -> bool:
    """Whether experts are quantized in this format."""
    return traits.experts and not traits.fused_experts


def _holds_experts(quantization: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's experts are quantized, which plain transformers would leave random."""
    named = quantization.get("modules_in_block_to_quantize") or ()
    return any(str(name).endswith(".experts") for names in named for name in names)


def _modules(context: CheckpointContext) -> list[str]:
    """What is quantized, in memory and on disk; experts by what holds them, as vLLM does."""
    names: dict[str, None] = {}
    for name in context.quantized:
        module = context.modules.get(name, name)
        names |= dict.fromkeys([module] if name in context.experts else [module, name])
    return list(names)


def _dynamic(context: CheckpointContext) -> dict[str, dict[str, int]]:
    """Patterns for kept layers (`-:`) and for overridden ones (`+:`), each matching whole names alone."""
    dynamic: dict[str, dict[str, int]] = {f"-:{pattern}": {} for pattern in _patterns(context.kept)}
    by_values: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name in context.quantized:
        override = context.settings.override_of(name)
        if override is not None:
            values = {"bits": override.bits, "group_size": override.group_size}
            key = tuple((word, value) for word, value in values.items() if value is not None)
            by_values.setdefault(key, []).append(name)
    for key, names in by_values.items():
        dynamic.update({f"+:{pattern}": dict(key) for pattern in _patterns(names)})
    return dynamic


def _patterns(names: Iterable[str]) -> list[str]:
    """One regular expression per layer of a block, over the blocks in which it is named.

    What holds others among the names stands for them: loaders ask for experts together, and one by one.
    """
    held = dict.fromkeys(names)
    indices: dict[tuple[str, str, bool], list[str]] = {}
    holders: set[str] = set()
    for name in held:
        parts = name.split(".")
        above = [".".join(parts[:depth]) for depth in range(1, len(parts))]
        holders.update(place for place in above if place in held)
    for name in held:
        if any(name.startswith(f"{holder}.") for holder in holders):
            continue
        found = _BLOCK.match(name)
        assert found is not None, "it lies in a block"
        indices.setdefault((found[1], found[3], name in holders), []).append(found[2])
    return [
        rf"^{re.escape(blocks)}\.(?:{'|'.join(found)})\.{re.escape(layer)}{_BELOW if holds else ''}$"
        for (blocks, layer, holds), found in indices.items()
    ]


FORMAT = _Gptq()
