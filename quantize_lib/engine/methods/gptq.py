"""GPTQ: columns rounded one after the other, each one's error made up for by those that follow.

Source: Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers
(arXiv 2210.17323), algorithm 1 and section 3.3. Columns go in descending order of the Hessian's diagonal with
group scales fixed beforehand, so that groups stay contiguous and no g_idx is needed at run time; with
`desc_act` the groups themselves are formed in that order. What was added and what it gains:
docs/explanation/accuracy.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.methods.base import Rounder, Rounding
from quantize_lib.engine.methods.column_loop import ColumnRounding
from quantize_lib.engine.methods.folding import Folding
from quantize_lib.engine.methods.gptq_rounding import Grouping
from quantize_lib.engine.methods.hessian import Factor
from quantize_lib.engine.methods.layer_checks import check_input
from quantize_lib.engine.methods.scales import search_scales
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings


class Gptq(Rounder):
    """2, 3, 4 or 8 bits, symmetric or with zero points."""

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        """See `Rounder.begin`.

        Raises:
            EngineError: for weights that are not finite or too large for float16 scales.
        """

        def choose(
            linears: Sequence[LinearInput], weight: Tensor, factor: Factor, grouping: Grouping
        ) -> tuple[Tensor, Tensor]:
            """Least squared rounding error, each input weighted with the Hessian's diagonal."""
            grouped, importance = weight, factor.importance
            if grouping.order is not None:
                grouped, importance = grouped[:, grouping.order], importance[grouping.order]
            size = grouping.size
            return search_scales(
                grouped.view(len(grouped), -1, size),
                importance.view(-1, size),
                bits=linears[0].bits,
                grid=grid,
            )

        for linear in block.linears.values():
            check_input(linear, "GPTQ")
        return ColumnRounding(block, grid, Folding(block, grid), choose)
