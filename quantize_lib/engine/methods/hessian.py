"""The part of GPTQ that depends on the inputs alone: order, damping and the inverse's Cholesky factor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.finite import is_finite
from quantize_lib.errors import EngineError
from quantize_lib.methods.gptq import DAMPING

FLOOR = 0.001
"""What is added besides, as a fraction of the mean: an input that the calibration hardly reached is not to
take the errors of all others."""

_DAMPING_LIMIT = 1.0


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A Hessian prepared for rounding.

    Attributes:
        order: int64 (in,), input channels by descending Hessian diagonal ("act order").
        upper: float32 (in, in), in that order, upper triangular U with UᵀU the inverse of the damped Hessian.
        importance: float32 (in,), in the layer's own order: the damped diagonal, how much an input matters to
            the choice of scales.
        added: float32 (in,), what was added to the diagonal, in the layer's own order.
        damping: the fraction of each entry of the diagonal that was added.
        dead: how many channels calibration never reached.
    """

    order: Tensor
    upper: Tensor
    importance: Tensor
    added: Tensor
    damping: float
    dead: int

    def of_scaled(self, scale: Tensor) -> Factor:
        """The factor for inputs that are divided by a scale, in the same order of rounding.

        With D = diag(scale), (D⁻¹HD⁻¹)⁻¹ = DUᵀUD: nothing is factorized anew, and the damping is the same.

        Args:
            scale: float32 (in,), in the layer's own order.
        """
        return replace(
            self,
            upper=self.upper * scale[self.order],
            importance=self.importance / scale.square(),
            added=self.added / scale.square(),
        )


def factorize(statistics: Statistics) -> Factor:
    """The factor of these statistics, computed once for all cells and layers that share them.

    Raises:
        EngineError: for a Hessian that is not finite, or that no damping makes positive definite.
    """
    return statistics.derived("gptq.factor", lambda: factorized(statistics.hessian))


def factorized(hessian: Tensor) -> Factor:
    """The factor of a second moment, float32 (in, in).

    Raises:
        EngineError: as `factorize`.
    """
    diagonal = hessian.diagonal()
    if not is_finite(hessian):
        raise EngineError(
            "the calibration inputs hold values that are not finite",
            hint="The model overflows on this text; check the base model and the calibration text.",
        )
    dead = diagonal <= 0
    mean = float(diagonal.mean()) or 1.0
    order = torch.argsort(diagonal, descending=True, stable=True)
    # H = RRᵀ with R upper triangular is the factorization of the reversed matrix, reversed; then U = R⁻¹
    # without ever forming H⁻¹. For a wide layer these matrices are the largest of all: never more than two.
    backwards = order.flip(0)
    permuted = hessian.index_select(0, backwards).index_select(1, backwards)
    # A dead channel is coupled to nothing; with the mean on its diagonal it is rounded to nearest, which is
    # right for text that does reach it.
    own = torch.where(dead, mean, diagonal)
    extra = dead * mean + FLOOR * mean
    permuted.diagonal().add_(extra[backwards])
    damping, added = DAMPING, 0.0
    while True:
        permuted.diagonal().add_((damping - added) * own[backwards])
        added = damping
        lower, info = torch.linalg.cholesky_ex(permuted)
        if int(info) == 0 and is_finite(lower):
            break
        if damping >= _DAMPING_LIMIT:
            raise EngineError(
                f"the Hessian cannot be factorized even with damping {damping:g} of its diagonal",
                hint="Calibrate with more text, or keep this layer in full precision.",
            )
        damping *= 10
    importance = torch.empty_like(diagonal)
    importance[backwards] = permuted.diagonal()
    del permuted
    reversed_lower = lower.flip(0, 1)
    del lower
    # By columns, as the solver works, so that it can put its result in the identity's place.
    upper = torch.eye(len(order), dtype=hessian.dtype, device=hessian.device).T
    torch.linalg.solve_triangular(reversed_lower, upper, upper=True, out=upper)
    return Factor(
        order=order,
        upper=upper,
        importance=importance,
        added=extra + damping * own,
        damping=damping,
        dead=int(dead.sum()),
    )
