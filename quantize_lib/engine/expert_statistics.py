"""Statistics of one expert at a time, with what it borrows where the router sent it few tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.experts import DOWN, FusedExperts, RoutedTokens
from quantize_lib.engine.precision import calibrating
from quantize_lib.engine.sums import Accumulator, ExpertSums


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
        borrows = any(one.tokens < len(one.hessian) for one in known)
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


class RoutedSums:
    """Of what the router sent to each expert, made when its turn comes: not all need be there at once.

    It is an `ExpertSums`.
    """

    def __init__(self, routed: RoutedTokens) -> None:
        self._routed = routed
        self.experts = routed.experts

    def least(self) -> int:
        """The fewest tokens that an expert saw."""
        return min(self._routed.counts())

    def of(self, expert: int) -> tuple[Accumulator, Accumulator]:
        """Of an expert: what came to it, and what its last layer read."""
        hidden, between = accumulators(self.experts)
        with calibrating(hidden.hessian.device):
            for tokens in self._routed.of(expert):
                hidden.add(tokens)
                between.add(self.experts.between(expert, tokens))
        return hidden, between

    def inputs(self) -> Accumulator:
        """Of all tokens that came to any expert, each once."""
        hidden, _ = accumulators(self.experts)
        with calibrating(hidden.hessian.device):
            for tokens in self._routed.all():
                hidden.add(tokens)
        return hidden

    def inner(self) -> Accumulator:
        """Of what the last layers of all experts read."""
        _, between = accumulators(self.experts)
        with calibrating(between.hessian.device):
            for expert in range(self.experts.count):
                for tokens in self._routed.of(expert):
                    between.add(self.experts.between(expert, tokens))
        return between


def accumulators(experts: FusedExperts) -> tuple[Accumulator, Accumulator]:
    """Empty ones for what comes to an expert, and for what its last layer reads."""
    device = experts.weight(0, DOWN).device
    return Accumulator(experts.inputs, device), Accumulator(experts.inner, device)


class ExpertStatistics:
    """What is known of the inputs of each expert's layers.

    Where it saw fewer tokens than a layer has inputs, those of all experts make up for it: the pool is of all
    tokens that came to the layer, or of all that experts made of theirs; see `Accumulator.finish`.

    Args:
        sums: of the experts of one module.
    """

    def __init__(self, sums: ExpertSums) -> None:
        self._sums = sums
        least, experts = sums.least(), sums.experts
        # Now: with the weights as they are, which cells replace expert by expert.
        self._inputs = sums.inputs().finish() if least < experts.inputs else None
        self._inner = sums.inner().finish() if least < experts.inner else None

    def of(self, expert: int) -> dict[str, Statistics]:
        """Statistics by layer of an expert; layers that share an input share the object."""
        hidden, between = self._sums.of(expert)
        first, last = hidden.finish(self._inputs), between.finish(self._inner)
        return {part: last if part == DOWN else first for part in self._sums.experts.parts}
