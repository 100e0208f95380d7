"""Sums of what a text says of the inputs of linear layers.

Those of the parts of a text add up to those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.experts import FusedExperts
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.engine.second_moment import add_product, mirrored
from quantize_lib.errors import EngineError


class Accumulator:
    """Sums of what is known of inputs.

    Args:
        width: of the inputs.
        loudness: whether mean |x| is asked for, too.
    """

    def __init__(self, width: int, device: torch.device, *, loudness: bool = True) -> None:
        self.width = width
        self.hessian = torch.zeros(width, width, dtype=torch.float32, device=device)
        self.abs_sum = torch.zeros(width, dtype=torch.float32, device=device) if loudness else None
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """Add tokens (n, in)."""
        x = x.to(factor_dtype(x.device))
        add_product(self.hessian, x)
        if self.abs_sum is not None:
            self.abs_sum += x.abs().sum(dim=0, dtype=torch.float32)
        self.tokens += x.shape[0]

    def include(self, other: Accumulator) -> None:
        """Add what another one has."""
        self.hessian += other.hessian
        if self.abs_sum is not None and other.abs_sum is not None:
            self.abs_sum += other.abs_sum
        self.tokens += other.tokens

    def finish(self, pool: Statistics | None = None) -> Statistics:
        """Their means; the sums are gone afterwards.

        The second moment of as many tokens as there are inputs can have full rank: so many stand alone. Where
        there were fewer, the pool makes up for those that are missing to that number:
        H = (n·H_own + m·H_pool) / (n + m) with m = inputs - n, and mean |x| alike.

        Args:
            pool: of the experts that an expert is one of.
        """
        hessian = mirrored(self.hessian)
        missing = 0 if pool is None else max(self.width - self.tokens, 0)
        counted, loudness = max(self.tokens + missing, 1), self.abs_sum
        if pool is not None and missing:
            hessian.add_(pool.hessian, alpha=missing)
            if loudness is not None:
                loudness = loudness.add(pool.mean_abs, alpha=missing)
        return Statistics(
            hessian.div_(counted), None if loudness is None else loudness / counted, self.tokens
        )


class LayerSums:
    """Of linear layers that are modules, once per distinct input: q, k and v share one, gate and up another.

    Args:
        linears: the block's linear layers by relative name, in the model's order.

    Attributes:
        leader: for each layer that text came to, the name under which its input is.
        accumulators: of the inputs, by that name.
    """

    def __init__(self, linears: Mapping[str, Linear]) -> None:
        self._linears = {name: linear for name, linear in linears.items() if linear.experts is None}
        self.leader: dict[str, str] = {}
        self.accumulators: dict[str, Accumulator] = {}

    def finish(self) -> dict[str, Statistics]:
        """Statistics by linear layer that is a module; layers that share an input share the object."""
        reached = {_kind(self._linears[name]): leader for name, leader in self.leader.items()}
        for name, linear in self._linears.items():
            if name not in self.leader:
                leader = reached.get(_kind(linear))
                if linear.owner is None or leader is None:
                    raise EngineError(f"calibration never reached the linear layer {name}")
                # It shares an input with the layers with which those of other experts do.
                mine = self.leader[name] = f"{linear.owner}.{leader.rpartition('.')[2]}"
                self.accumulators.setdefault(mine, Accumulator(linear.shape[1], linear.view.device))
        finished: dict[str, Statistics] = {}
        for alike in self._alike():
            pool = self._pool(alike) if len(alike) > 1 else None
            finished |= {name: self.accumulators[name].finish(pool) for name in alike}
        return {name: finished[self.leader[name]] for name in self._linears}

    def _alike(self) -> list[list[str]]:
        """Those that inputs are accumulated for, the same layers of a module's experts together."""
        groups: dict[str, list[str]] = {}
        for name in self.accumulators:
            groups.setdefault(_kind(self._linears[name]), []).append(name)
        return list(groups.values())

    def _pool(self, alike: Sequence[str]) -> Statistics | None:
        """Of experts that are modules of their own; None where none of them needs it."""
        mine = [self.accumulators[name] for name in alike]
        width = mine[0].width
        if all(one.tokens >= width for one in mine):
            return None
        pool = Accumulator(width, mine[0].hessian.device, loudness=mine[0].abs_sum is not None)
        for one in mine:
            pool.include(one)
        return pool.finish()

    def groups(self) -> list[tuple[str, ...]]:
        """Layers that text came to and that share one input, in the model's order."""
        return group_by(self.leader, (name for name in self._linears if name in self.leader))


class ExpertSums(Protocol):
    """Of experts that one module holds in fused tensors."""

    @property
    def experts(self) -> FusedExperts: ...

    def least(self) -> int:
        """The fewest tokens that one of them saw."""

    def of(self, expert: int) -> tuple[Accumulator, Accumulator]:
        """Of an expert: what came to it, and what its last layer read."""

    def inputs(self) -> Accumulator:
        """Of all tokens that came to any expert, each once."""

    def inner(self) -> Accumulator:
        """Of what the last layers of all experts read."""


@dataclass(frozen=True, kw_only=True)
class BlockSums:
    """Of a block.

    Attributes:
        layers: of those that are modules.
        experts: of those that others hold in fused tensors, by the name of the module, relative to the block.
    """

    layers: LayerSums
    experts: Mapping[str, ExpertSums]


def _kind(linear: Linear) -> str:
    """A layer's name; the same for a layer of each of a module's experts."""
    if linear.owner is None:
        return linear.name
    return f"{linear.owner.rpartition('.')[0]}.*.{linear.name.rpartition('.')[2]}"


def group_by(leader: Mapping[str, str], names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names with the same leader together, in the order of `names`."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(leader[name], []).append(name)
    return [tuple(members) for members in grouped.values()]
