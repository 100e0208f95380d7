"""AWQ: channels that matter are enlarged before rounding, and that is undone in front of them.

Source: Lin et al. 2023, AWQ: Activation-aware Weight Quantization (arXiv 2306.00978), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, Fold, LinearInput, RoundedBlock, Statistics
from quantize_lib.engine.methods.awq_rounding import Rounded, Target, round_layer
from quantize_lib.engine.methods.awq_scales import fold_linear, fold_norm, search_scale
from quantize_lib.engine.methods.base import Rounder
from quantize_lib.engine.methods.output_error import row_powers
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer
from quantize_lib.methods import Settings

_KEEP = "Keep the layer in full precision (modules_to_not_convert)."


class Awq(Rounder):
    """Scales and clipping searched in the statistics of the pass; zero points where the format has them."""

    def round(self, block: BlockInput, settings: Settings, grid: Grid) -> RoundedBlock:
        """Round one block; see `Rounder.round`.

        Raises:
            EngineError: where a layer's weights do not fit float16 scales.
        """
        for linear in block.linears.values():
            _check(linear)
        sizes = [linear.weight.numel() for linear in block.linears.values()]
        with one_thread(elements=max(sizes, default=0)):
            return _round(block, grid)


def _round(block: BlockInput, grid: Grid) -> RoundedBlock:
    work = _Work(block, grid)
    for fold in block.folds:
        work.apply(fold)
    layers: dict[str, RoundedLayer] = {}
    errors: dict[str, float] = {}
    for name, linear in block.linears.items():
        rounded, errors[name] = work.round(linear)
        layers[name] = RoundedLayer(
            weight=rounded.weight,
            codes=Codes(bits=linear.bits, values=rounded.codes, zeros=rounded.zeros, scales=rounded.scales),
            bias=work.biases.get(name),
        )
    return RoundedBlock(layers=layers, params=work.params, errors=errors)


class _Work:
    """A block's weights while scales are folded; nothing of the block itself is changed."""

    def __init__(self, block: BlockInput, grid: Grid) -> None:
        self._block = block
        self._grid = grid
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
        scale = search_scale(fold, targets, [self._weights[name] for name in fold.targets], self._grid)
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
        # Also true for NaN, which no comparison lets through.
        if not float(weight.abs().max()) <= torch.finfo(torch.float16).max:
            raise EngineError(
                f"{linear.name} has weights that are not finite or too large for float16 scales", hint=_KEEP
            )
        rounded = round_layer(weight, hessian, Target.of(linear, self._grid))
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


def _check(linear: LinearInput) -> None:
    in_features = linear.weight.shape[1]
    _statistics(linear)
    if linear.group_size > 0 and in_features % linear.group_size:
        raise EngineError(f"{linear.name} has {in_features} inputs, no multiple of {linear.group_size}")
