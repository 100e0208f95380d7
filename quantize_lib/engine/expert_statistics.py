"""Statistics of one expert at a time, with what it borrows where the router sent it few tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.experts import DOWN, RoutedTokens
from quantize_lib.engine.precision import calibrating
from quantize_lib.engine.statistics import Accumulator


@dataclass(frozen=True, kw_only=True)
class ExpertTally:
    """How well some experts are calibrated.

    Attributes:
        count: how many they are.
        borrowing: how many of them borrow from all.
        least: the fewest tokens that one of them saw.
        name: of that one.
        unreached: how many the router sent no calibration token to.
    """

    count: int
    borrowing: int
    least: int
    name: str
    unreached: int = 0

    @classmethod
    def of(cls, name: str, statistics: Iterable[Statistics]) -> ExpertTally:
        """Of one expert, by the statistics of its layers."""
        known = list(statistics)
        tokens = min(one.tokens for one in known)
        borrows = any(one.tokens < len(one.mean_abs) for one in known)
        return cls(count=1, borrowing=int(borrows), least=tokens, name=name, unreached=int(tokens == 0))

    def beside(self, other: ExpertTally | None) -> ExpertTally:
        """Of both."""
        if other is None:
            return self
        worst = min(other, self, key=lambda one: one.least)
        return replace(
            worst,
            count=self.count + other.count,
            borrowing=self.borrowing + other.borrowing,
            unreached=self.unreached + other.unreached,
        )

    def sentence(self) -> str:
        """For log, report and card."""
        never = f"{self.unreached} of them saw none; " if self.unreached else ""
        return (
            f"{self.borrowing or 'none'} of {self.count} experts saw fewer calibration tokens than their "
            "layers have inputs, and borrow what is missing from the statistics of all experts of the block; "
            f"{never}the fewest, {self.least}, came to {self.name}"
        )


class ExpertStatistics:
    """What is known of the inputs of each expert's layers.

    Where it saw fewer tokens than a layer has inputs, those of all experts make up for it: the pool is of all
    tokens that came to the layer, or of all that experts made of theirs; see `Accumulator.finish`.

    Args:
        routed: what came to the experts.
    """

    def __init__(self, routed: RoutedTokens) -> None:
        self._routed = routed
        self._experts = routed.experts
        least = min(routed.counts())
        # Now: with the weights as they are, which cells replace expert by expert.
        self._pool = self._pooled(least < self._experts.inputs, least < self._experts.inner)

    def of(self, expert: int) -> dict[str, Statistics]:
        """Statistics by layer of an expert; layers that share an input share the object."""
        hidden, between = self._accumulators(expert)
        with calibrating(hidden.hessian.device):
            for tokens in self._routed.of(expert):
                hidden.add(tokens)
                between.add(self._experts.between(expert, tokens))
        first = hidden.finish(self._pool.get("inputs"))
        last = between.finish(self._pool.get("inner"))
        return {part: last if part == DOWN else first for part in self._experts.parts}

    def _accumulators(self, expert: int) -> tuple[Accumulator, Accumulator]:
        device = self._experts.weight(expert, DOWN).device
        return Accumulator(self._experts.inputs, device), Accumulator(self._experts.inner, device)

    def _pooled(self, inputs: bool, inner: bool) -> Mapping[str, Statistics]:
        """Of all tokens that came to the layer, and of what all experts made of theirs; where needed."""
        pool: dict[str, Statistics] = {}
        hidden, between = self._accumulators(0)
        with calibrating(hidden.hessian.device):
            if inputs:
                for tokens in self._routed.all():
                    hidden.add(tokens)
                pool["inputs"] = hidden.finish()
            if inner:
                for expert in range(self._experts.count):
                    for tokens in self._routed.of(expert):
                        between.add(self._experts.between(expert, tokens))
                pool["inner"] = between.finish()
        return pool
