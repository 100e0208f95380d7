"""Input scales of a block: chosen fold by fold, and undone in front of the layers before anything is rounded.

Source: Lin et al. 2023, AWQ: Activation-aware Weight Quantization (arXiv 2306.00978), section 3.2.
"""

from __future__ import annotations

from torch import Tensor

from quantize_lib.engine.block import BlockInput, Fold
from quantize_lib.engine.methods.awq_scales import fold_linear, fold_norm, search_scale
from quantize_lib.engine.methods.layer_checks import statistics_of
from quantize_lib.engine.methods.output_error import row_powers
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.formats.rounded import Grid


class Folding:
    """A block's weights while scales are folded; nothing of the block itself is changed.

    Attributes:
        weights: float32 (out, in) by layer, as they are to be rounded.
        biases: float32 (out,) by layer, of those that have one.
        scales: what the inputs of a layer are divided by, float32 (in,); of the layers that have any; those
            that read one input share it.
        params: other parameters that changed, as `RoundedBlock.params`.
    """

    def __init__(self, block: BlockInput, grid: Grid) -> None:
        self._block = block
        self._grid = grid
        self._norms = dict(block.params)
        self._divisors: dict[str, Tensor] = {}
        self.weights = {name: linear.weight for name, linear in block.linears.items()}
        self.biases = {name: linear.bias for name, linear in block.linears.items() if linear.bias is not None}
        self.scales: dict[str, Tensor] = {}
        self.params: dict[str, Tensor] = {}

    def apply(self, fold: Fold) -> None:
        """Scale the targets' inputs and undo it in the source, where that lowers the output error."""
        block = self._block
        targets = [block.linears[name] for name in fold.targets]
        scale = search_scale(fold, targets, [self.weights[name] for name in fold.targets], self._grid)
        if scale is None:
            return
        if fold.kind == "linear":
            bias = self.biases.get(fold.source)
            self.weights[fold.source], bias, divisor = fold_linear(
                fold, self.weights[fold.source], bias, scale
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
            self.weights[name] = self.weights[name] * scale
            self.scales[name] = scale * self.scales[name] if name in self.scales else scale

    def power(self, name: str) -> float:
        """tr(W·H·Wᵀ) of a layer as it is to be rounded: what its error is relative to."""
        linear = self._block.linears[name]
        # Scaled inputs change no output, divided outputs do.
        powers = row_powers(linear, statistics_of(linear))
        divisor = self._divisors.get(name)
        return float((powers if divisor is None else powers / divisor.square()).sum())

    def _put(self, name: str, value: Tensor) -> None:
        self.params[name] = value
        self._norms[name] = value.float()


def fold_block(block: BlockInput, grid: Grid) -> Folding:
    """A block with its folds, each where it lowers the output error."""
    folding = Folding(block, grid)
    sizes = [linear.weight.numel() for linear in block.linears.values()]
    with one_thread(elements=max(sizes, default=0)):
        for fold in block.folds:
            folding.apply(fold)
    return folding
