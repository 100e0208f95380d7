"""AWQ: channels that matter are enlarged before rounding to 4 bits, and that is undone in front of them.

Source: Lin et al. 2023, AWQ: Activation-aware Weight Quantization (arXiv 2306.00978), section 3.
The checkpoint has AutoAWQ's GEMM format; for Conv1D models, which AWQ loaders cannot replace, GPTQ's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, BlockOutput, CellContext, Fold, LinearInput, Statistics
from quantize_lib.engine.methods.awq_packing import pack_gemm
from quantize_lib.engine.methods.awq_rounding import Rounded, round_layer
from quantize_lib.engine.methods.awq_scales import fold_linear, fold_norm, search_scale
from quantize_lib.engine.methods.base import Method
from quantize_lib.engine.methods.output_error import row_powers
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError
from quantize_lib.methods.settings import Settings

_BITS = 4
_PACKED_OUTPUTS = 8
"""Outputs that share one 32-bit word in the GEMM format."""
_KEEP = "Keep the layer in full precision (modules_to_not_convert)."
_SLOW_GROUP = 16
"""GPTQModel picks a CPU kernel for this group size that then refuses it; its plain torch kernel does not."""


class Awq(Method):
    """4 bits with zero points, scales and clipping searched in the statistics of the pass."""

    needs_statistics: ClassVar[bool] = True
    uses_folds: ClassVar[bool] = True

    def quantize(self, block: BlockInput, settings: Settings) -> BlockOutput:
        """Quantize one block; see `Method.quantize`.

        Raises:
            EngineError: where a layer does not fit the format or its weights do not fit float16 scales.
        """
        for linear in block.linears.values():
            _check(linear, settings)
        sizes = [linear.weight.numel() for linear in block.linears.values()]
        with one_thread(elements=max(sizes, default=0)):
            return self._quantize(block)

    def _quantize(self, block: BlockInput) -> BlockOutput:
        work = _Work(block)
        for fold in block.folds:
            work.apply(fold)
        tensors: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        errors: dict[str, float] = {}
        for name, linear in block.linears.items():
            rounded, errors[name] = work.round(linear)
            weights[name] = rounded.weight
            packed = _pack_conv1d(rounded) if linear.conv1d else _pack_linear(rounded)
            bias = work.biases.get(name)
            if bias is not None:
                packed["bias"] = bias.to(block.dtype)
            tensors.update({f"{name}.{part}": value.cpu() for part, value in packed.items()})
        return BlockOutput(
            tensors=tensors,
            weights=weights,
            params={**_activation_scales(block), **work.params},
            errors=errors,
        )

    def quantization_config(self, context: CellContext) -> dict[str, Any]:
        """What transformers, GPTQModel and vLLM read as AWQ (for Conv1D models: as GPTQ)."""
        if context.conv1d:
            from quantize_lib.engine.methods.gptq import Gptq

            settings = replace(context.settings, method="gptq", sym=False, desc_act=False)
            return Gptq().quantization_config(replace(context, settings=settings))
        config = {
            "quant_method": "awq",
            "bits": _BITS,
            "group_size": context.group_size,
            "zero_point": True,
            "sym": False,
            "desc_act": False,
            "version": "gemm",
            "format": "gemm",
            "modules_to_not_convert": [*context.kept, *context.outside] or None,
        }
        if context.group_size == _SLOW_GROUP:
            config["backend"] = "torch_awq"
        return config


class _Work:
    """A block's weights while scales are folded; nothing of the block itself is changed."""

    def __init__(self, block: BlockInput) -> None:
        self._block = block
        self._norms = dict(block.params)
        self._weights = {name: linear.weight for name, linear in block.linears.items()}
        self._scales: dict[str, Tensor] = {}
        self._divisors: dict[str, Tensor] = {}
        self.biases = {name: linear.bias for name, linear in block.linears.items() if linear.bias is not None}
        self.params: dict[str, Tensor] = {}

    def apply(self, fold: Fold) -> None:
        """Scale the targets' inputs and undo it in the source, where that lowers the output error."""
        block = self._block
        targets = [block.linears[name] for name in fold.targets]
        scale = search_scale(fold, targets, [self._weights[name] for name in fold.targets])
        if scale is None:
            return
        if fold.kind == "linear":
            bias = self.biases.get(fold.source)
            self._weights[fold.source], bias, divisor = fold_linear(
                fold, self._weights[fold.source], bias, scale
            )
            self._divisors[fold.source] = self._divisors.get(fold.source, 1.0) * divisor
            if bias is not None:
                self.biases[fold.source] = bias
                self.params[f"{fold.source}.bias"] = bias.to(block.dtype)
        else:
            names = (f"{fold.source}.weight", f"{fold.source}.bias")
            weight, bias, scale = fold_norm(
                fold, self._norms[names[0]], self._norms.get(names[1]), scale, block.dtype
            )
            self._put(names[0], weight)
            if bias is not None:
                self._put(names[1], bias)
        for name in fold.targets:
            self._weights[name] = self._weights[name] * scale
            self._scales[name] = scale * self._scales[name] if name in self._scales else scale

    def round(self, linear: LinearInput) -> tuple[Rounded, float]:
        """A layer's codes, and its output error relative to its output."""
        weight, statistics = self._weights[linear.name], _statistics(linear)
        hessian = statistics.hessian
        scale = self._scales.get(linear.name)
        if scale is not None:
            hessian = hessian / scale / scale[:, None]
        size = linear.group_size if linear.group_size > 0 else weight.shape[1]
        # Also true for NaN, which no comparison lets through.
        if not float(weight.abs().max()) <= torch.finfo(torch.float16).max:
            raise EngineError(
                f"{linear.name} has weights that are not finite or too large for float16 scales", hint=_KEEP
            )
        rounded = round_layer(weight, hessian, size, lowest_zero=1 if linear.conv1d else 0)
        # Scaled inputs change no output, divided outputs do.
        powers = row_powers(linear, statistics)
        divisor = self._divisors.get(linear.name)
        power = float((powers if divisor is None else powers / divisor.square()).sum())
        return rounded, rounded.error / power if power > 0 else 0.0

    def _put(self, name: str, value: Tensor) -> None:
        self.params[name] = value
        self._norms[name] = value.float()


def _statistics(linear: LinearInput) -> Statistics:
    if linear.statistics is None:
        raise EngineError(f"{linear.name} has no statistics, which AWQ needs")
    if not bool(torch.isfinite(linear.statistics.hessian.diagonal()).all()):
        raise EngineError(f"the statistics of {linear.name} are not finite", hint=_KEEP)
    return linear.statistics


def _check(linear: LinearInput, settings: Settings) -> None:
    out_features, in_features = linear.weight.shape
    _statistics(linear)
    if linear.bits != _BITS:
        raise EngineError(f"{linear.name} asks for {linear.bits} bits; AWQ has {_BITS}", hint=_KEEP)
    if settings.group_size not in ("auto", linear.group_size):
        raise EngineError(
            f"{linear.name} asks for group size {linear.group_size} in an AWQ cell of {settings.group_size}",
            hint="An AWQ checkpoint has one group size.",
        )
    if linear.group_size > 0 and in_features % linear.group_size:
        raise EngineError(f"{linear.name} has {in_features} inputs, no multiple of {linear.group_size}")
    if out_features % _PACKED_OUTPUTS and not linear.conv1d:
        raise EngineError(
            f"{linear.name} has {out_features} outputs; AWQ's format packs {_PACKED_OUTPUTS} to a word",
            hint=_KEEP,
        )


def _pack_linear(rounded: Rounded) -> dict[str, Tensor]:
    return pack_gemm(rounded.codes, rounded.zeros, rounded.scales)


def _pack_conv1d(rounded: Rounded) -> dict[str, Tensor]:
    from quantize_lib.engine.methods.packing import pack_gptq

    return pack_gptq(rounded.codes, rounded.zeros, rounded.scales, bits=_BITS, g_idx=None)


def _activation_scales(block: BlockInput) -> Mapping[str, Tensor]:
    """Ones for the scaled activations that transformers puts into some families' blocks when it loads AWQ."""
    from transformers.integrations.awq import AWQ_SCALES_MAPPINGS

    mapping = AWQ_SCALES_MAPPINGS.get(block.model_type)
    if mapping is None:
        return {}
    widths = {name: linear.weight.shape[0] for name, linear in block.linears.items()}
    for name, value in block.params.items():
        if name.endswith(".weight"):
            widths[name.removesuffix(".weight")] = value.shape[0]
    found = {}
    for name, width in widths.items():
        parent, _, leaf = name.rpartition(".")
        if leaf == mapping["layer_before_act"]:
            found[f"{parent}.{mapping['act']}.scales"] = torch.ones(width, dtype=block.dtype)
    return found
