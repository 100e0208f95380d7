"""AWQ: channels that matter are enlarged before rounding, and that is undone in front of them.

Source: Lin et al. 2023, AWQ: Activation-aware Weight Quantization (arXiv 2306.00978), section 3. Scales and
clipping are the paper's; from effort `standard` on the codes are found column by column, as GPTQ's are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, Drift, LinearInput, RoundedBlock
from quantize_lib.engine.finite import is_finite
from quantize_lib.engine.methods.awq_rounding import Rounded, Target, round_layer
from quantize_lib.engine.methods.base import Rounder, Rounding
from quantize_lib.engine.methods.column_loop import ColumnRounding
from quantize_lib.engine.methods.folding import Folding, fold_block
from quantize_lib.engine.methods.gptq_rounding import Grouping
from quantize_lib.engine.methods.hessian import Factor
from quantize_lib.engine.methods.layer_checks import KEEP, check_input, check_range, statistics_of
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer
from quantize_lib.methods import Settings
from quantize_lib.methods.common import EFFORT, FAST


class Awq(Rounder):
    """Scales and clipping searched in the statistics of the pass; zero points where the format has them."""

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See `Rounder.begin`.

        Raises:
            EngineError: where a layer's weights do not fit float16 scales.
        """
        for linear in block.linears.values():
            _check(linear)
        folding = fold_block(block, grid)
        if settings[EFFORT] == FAST:
            return _Nearest(block, grid, folding)

        def choose(
            linears: Sequence[LinearInput], weight: Tensor, factor: Factor, grouping: Grouping
        ) -> tuple[Tensor, Tensor]:
            """The paper's: each group clipped where its output error, rounded to nearest, is least."""
            del factor, grouping
            rows = weight.split([len(linear.weight) for linear in linears])
            found = [_clipped(linear, own, grid, folding) for linear, own in zip(linears, rows, strict=True)]
            scales = torch.cat([rounded.scales for rounded in found]).float()
            return scales, torch.cat([rounded.zeros for rounded in found]).float()

        return ColumnRounding(block, grid, folding, choose)


class _Nearest(Rounding):
    """Each code the nearest, as in the paper."""

    def __init__(self, block: BlockInput, grid: Grid, folding: Folding) -> None:
        self._block = block
        self._grid = grid
        self._folding = folding
        self.params = folding.params

    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        """See `Rounding.round`."""
        linears = [self._block.linears[name] for name in names]
        layers: dict[str, RoundedLayer] = {}
        errors: dict[str, float] = {}
        with one_thread(elements=max((linear.weight.numel() for linear in linears), default=0)):
            for linear in linears:
                weight = self._folding.weights[linear.name]
                rounded = _clipped(linear, weight, self._grid, self._folding)
                power = self._folding.power(linear.name)
                errors[linear.name] = rounded.error / power if power > 0 else 0.0
                layers[linear.name] = RoundedLayer(
                    weight=rounded.weight,
                    codes=Codes(
                        bits=linear.bits, values=rounded.codes, zeros=rounded.zeros, scales=rounded.scales
                    ),
                    bias=self._folding.biases.get(linear.name),
                )
        return RoundedBlock(layers=layers, errors=errors)


def _clipped(linear: LinearInput, weight: Tensor, grid: Grid, folding: Folding) -> Rounded:
    """A layer's scales, zero points and nearest codes.

    Args:
        weight: float32 (out, in), as it is to be rounded.
    """
    hessian = statistics_of(linear).hessian
    scale = folding.scales.get(linear.name)
    if scale is not None:
        hessian = hessian / scale / scale[:, None]
    check_range(linear.name, weight)
    return round_layer(weight, hessian, Target.of(linear, grid))


def _check(linear: LinearInput) -> None:
    check_input(linear, "AWQ")
    if not is_finite(statistics_of(linear).hessian.diagonal()):
        raise EngineError(f"the statistics of {linear.name} are not finite", hint=KEEP)
