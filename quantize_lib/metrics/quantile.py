"""A metric whose figure is a quantile, over all predicted tokens, of values that another metric has."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from quantize_lib.files import finite
from quantize_lib.metrics.entry import NONE, Metric, Row
from quantize_lib.metrics.figure import Figure, with_error
from quantize_lib.metrics.mean import MeanMetric

if TYPE_CHECKING:
    from torch import Tensor

_DRAWS = 400
"""Bootstrap samples: the standard error is then known to about 4%."""
_SEED = 0


class QuantileMetric(Metric):
    """The smallest value that at least a share of all tokens does not exceed.

    The reload has nothing to reproduce of it: the mean of the same values is compared already.

    Attributes:
        of: the metric whose values these are.
        per_mille: the share, in thousandths, so that the rank is exact.
    """

    of: ClassVar[MeanMetric]
    per_mille: ClassVar[int]

    @property
    def values_of(self) -> str:
        return self.of.name

    def of_values(self, values: Tensor) -> float:
        if not bool(values.isfinite().all()):
            return float("nan")
        return float(values.flatten().sort().values[self._rank(values.numel()) - 1])

    def standard_error(self, values: Tensor) -> float | None:
        """By the bootstrap (Efron, 1979) over whole sequences, always with the same draws.

        Sequences are drawn with replacement, as many as there are (a cluster bootstrap: Davison and Hinkley,
        Bootstrap Methods and Their Application, 1997, 3.8); it is how the quantile differs among the draws.
        """
        import torch

        sequences, length = values.shape
        if sequences < 2 or not bool(values.isfinite().all()):
            return None
        ordered, order = values.flatten().sort()
        owner = order // length
        rank = self._rank(values.numel())
        generator = torch.Generator().manual_seed(_SEED)
        found = []
        for _ in range(_DRAWS):
            drawn = torch.randint(sequences, (sequences,), generator=generator)
            times = drawn.bincount(minlength=sequences)
            reached = times[owner].cumsum(0)
            found.append(ordered[torch.searchsorted(reached, rank)])
        return finite(float(torch.stack(found).double().std()))

    def _rank(self, tokens: int) -> int:
        """Of how many tokens, at least, the quantile is the largest."""
        return -(-self.per_mille * tokens // 1000)

    def row(self, figure: Figure) -> Row | None:
        if figure.after is None:
            return None
        error = None if figure.standard_error is None else f"{figure.standard_error:.4f}"
        return Row(f"{self.heading}, {self.unit}", NONE, with_error(f"{figure.after:.4f}", error))

    def cell(self, figure: Figure) -> str:
        return "" if figure.after is None else f"{figure.after:.4f}"
