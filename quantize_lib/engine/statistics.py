"""Statistics of the inputs of linear layers, accumulated while the calibration passes through a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.experts import FusedExperts, RoutedTokens
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.engine.second_moment import add_product, mirrored
from quantize_lib.errors import EngineError


class Accumulator:
    """Sums of what is known of inputs.

    Args:
        width: of the inputs.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.hessian = torch.zeros(width, width, dtype=torch.float32, device=device)
        self.abs_sum = torch.zeros(width, dtype=torch.float32, device=device)
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """Add tokens (n, in)."""
        x = x.to(factor_dtype(x.device))
        add_product(self.hessian, x)
        self.abs_sum += x.abs().sum(dim=0, dtype=torch.float32)
        self.tokens += x.shape[0]

    def include(self, other: Accumulator) -> None:
        """Add what another one has."""
        self.hessian += other.hessian
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
        missing = 0 if pool is None else max(len(self.abs_sum) - self.tokens, 0)
        counted, loudness = max(self.tokens + missing, 1), self.abs_sum
        if pool is not None and missing:
            hessian.add_(pool.hessian, alpha=missing)
            loudness = loudness.add(pool.mean_abs, alpha=missing)
        return Statistics(hessian.div_(counted), loudness / counted, self.tokens)


class StatisticsCollector:
    """Accumulates statistics once per distinct input: q, k and v share one, gate and up share one.

    Args:
        linears: the block's linear layers by relative name, in the model's order.

    Attributes:
        routed: what came to the experts that some of them belong to.
    """

    def __init__(self, linears: Mapping[str, Linear]) -> None:
        self._linears = {name: linear for name, linear in linears.items() if linear.experts is None}
        self.routed: dict[FusedExperts, RoutedTokens] = {}
        for name, linear in linears.items():
            if linear.experts is not None and linear.experts not in self.routed:
                # The module's name is that of its first expert without number and layer.
                self.routed[linear.experts] = RoutedTokens(name.rsplit(".", 2)[0], linear.experts)
        self._leader: dict[str, str] = {}
        self._accumulators: dict[str, Accumulator] = {}
        self._seen: list[tuple[Tensor, str]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Forward passes inside this context are accumulated."""
        handles = [
            linear.module.register_forward_pre_hook(self._hook(name))
            for name, linear in self._linears.items()
        ]
        handles += [
            experts.module.register_forward_hook(routed.watch, with_kwargs=True)
            for experts, routed in self.routed.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._seen.clear()

    def end_of_batch(self) -> None:
        """Forget which tensors this batch has shown; call it after each forward."""
        self._seen.clear()

    def finish(self) -> dict[str, Statistics]:
        """Statistics by linear layer that is a module; layers that share an input share the object."""
        reached = {_kind(self._linears[name]): leader for name, leader in self._leader.items()}
        for name, linear in self._linears.items():
            if name not in self._leader:
                leader = reached.get(_kind(linear))
                if linear.owner is None or leader is None:
                    raise EngineError(f"calibration never reached the linear layer {name}")
                # It shares an input with the layers with which those of other experts do.
                mine = self._leader[name] = f"{linear.owner}.{leader.rpartition('.')[2]}"
                self._accumulators.setdefault(mine, Accumulator(linear.shape[1], linear.view.device))
        finished: dict[str, Statistics] = {}
        for alike in self._alike():
            pool = self._pool(alike) if len(alike) > 1 else None
            finished |= {name: self._accumulators[name].finish(pool) for name in alike}
        return {name: finished[self._leader[name]] for name in self._linears}

    def _alike(self) -> list[list[str]]:
        """Those that inputs are accumulated for, the same layers of a module's experts together."""
        groups: dict[str, list[str]] = {}
        for name in self._accumulators:
            groups.setdefault(_kind(self._linears[name]), []).append(name)
        return list(groups.values())

    def _pool(self, alike: Sequence[str]) -> Statistics | None:
        """Of experts that are modules of their own; None where none of them needs it."""
        mine = [self._accumulators[name] for name in alike]
        width = len(mine[0].abs_sum)
        if all(one.tokens >= width for one in mine):
            return None
        pool = Accumulator(width, mine[0].hessian.device)
        for one in mine:
            pool.include(one)
        return pool.finish()

    def groups(self) -> list[tuple[str, ...]]:
        """Linear layers that are modules and share one input, in the model's order."""
        return group_by(self._leader, self._linears)

    def _hook(self, name: str) -> Any:
        def before(_module: nn.Module, args: tuple[Any, ...]) -> None:
            x: Tensor = args[0]
            leader = self._leader.get(name)
            if leader is None:
                # The tensors of this batch are kept alive, so that one object is one input.
                leader = next((other for tensor, other in self._seen if tensor is x), name)
                self._leader[name] = leader
                self._seen.append((x, leader))
            if leader == name:
                accumulator = self._accumulators.get(name)
                if accumulator is None:
                    accumulator = self._accumulators[name] = Accumulator(x.shape[-1], x.device)
                accumulator.add(x.reshape(-1, x.shape[-1]))

        return before


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
