"""Statistics of the inputs of linear layers, accumulated while the calibration passes through a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import Statistics
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.errors import EngineError

_TILE = 256
"""Columns per tile of XᵀX: large enough for full matrix-product speed, small enough to skip a half."""


class _Accumulator:
    def __init__(self, width: int, device: torch.device) -> None:
        self.hessian = torch.zeros(width, width, dtype=torch.float32, device=device)
        self.abs_sum = torch.zeros(width, dtype=torch.float32, device=device)
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """Add tokens (n, in). XᵀX is symmetric: only tiles on and above the diagonal are computed."""
        x = x.to(factor_dtype(x.device))
        width = x.shape[1]
        for start in range(0, width, _TILE):
            stop = min(start + _TILE, width)
            self.hessian[start:stop, start:] += x[:, start:stop].T @ x[:, start:]
        self.abs_sum += x.abs().sum(dim=0, dtype=torch.float32)
        self.tokens += x.shape[0]

    def finish(self) -> Statistics:
        hessian = self.hessian.triu_()
        hessian = hessian.add_(hessian.triu(1).T).div_(max(self.tokens, 1))
        return Statistics(hessian, self.abs_sum / max(self.tokens, 1), self.tokens)


class StatisticsCollector:
    """Accumulates statistics once per distinct input: q, k and v share one, gate and up share one.

    Args:
        linears: the block's linear layers by relative name, in the model's order.
    """

    def __init__(self, linears: Mapping[str, nn.Module]) -> None:
        self._linears = linears
        self._leader: dict[str, str] = {}
        self._accumulators: dict[str, _Accumulator] = {}
        self._seen: list[tuple[Tensor, str]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Forward passes inside this context are accumulated."""
        handles = [
            module.register_forward_pre_hook(self._hook(name)) for name, module in self._linears.items()
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
        """Statistics by linear; layers that share an input share the object."""
        missing = [name for name in self._linears if name not in self._leader]
        if missing:
            raise EngineError(f"calibration never reached the linear layer {missing[0]}")
        finished = {name: accumulator.finish() for name, accumulator in self._accumulators.items()}
        return {name: finished[self._leader[name]] for name in self._linears}

    def groups(self) -> list[tuple[str, ...]]:
        """Linear layers that share one input, in the model's order."""
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
                    accumulator = self._accumulators[name] = _Accumulator(x.shape[-1], x.device)
                accumulator.add(x.reshape(-1, x.shape[-1]))

        return before


def group_by(leader: Mapping[str, str], names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names with the same leader together, in the order of `names`."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(leader[name], []).append(name)
    return [tuple(members) for members in grouped.values()]
