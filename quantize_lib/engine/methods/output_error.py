"""How much a layer's output changes, from the second moment of its inputs: no forward is needed.

For inputs x with H = E[xᵀx], the mean squared output of a row w is w·H·wᵀ.
"""

from __future__ import annotations

from torch import Tensor

from quantize_lib.engine.block import LinearInput, Statistics
from quantize_lib.engine.methods.threads import one_thread


def row_errors(difference: Tensor, hessian: Tensor) -> Tensor:
    """Mean squared output of each row: (out,), from ΔW (out, in) and H (in, in), float32."""
    return ((difference @ hessian) * difference).sum(1)


def row_powers(linear: LinearInput, statistics: Statistics) -> Tensor:
    """What errors are compared with: the mean squared outputs of the base model's layer, float32 (out,).

    Computed once for all cells.
    """

    def compute() -> Tensor:
        with one_thread(elements=max(linear.weight.numel(), statistics.hessian.numel())):
            return row_errors(linear.weight, statistics.hessian)

    return statistics.derived(("row powers", linear.name), compute)
