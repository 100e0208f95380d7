"""Statistics of the inputs of linear layers, accumulated while the calibration passes through a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from quantize_lib.engine.experts import FusedExperts, RoutedTokens
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.precision import factor_dtype
from quantize_lib.engine.sums import Accumulator, LayerSums
from quantize_lib.engine.watch import removed


class StatisticsCollector(LayerSums):
    """Sums that grow while text goes through the block.

    Args:
        linears: the block's linear layers by relative name, in the model's order.
        loudness: whether mean |x| is asked for, too.

    Attributes:
        routed: what came to the experts that some of them belong to.
    """

    def __init__(self, linears: Mapping[str, Linear], *, loudness: bool = True) -> None:
        super().__init__(linears)
        self._loudness = loudness
        self.routed: dict[FusedExperts, RoutedTokens] = {}
        for name, linear in linears.items():
            if linear.experts is not None and linear.experts not in self.routed:
                # The module's name is that of its first expert without number and layer.
                self.routed[linear.experts] = RoutedTokens(name.rsplit(".", 2)[0], linear.experts)
        # What layers of this batch got, and that as the factor of a product; the name under which it is.
        self._seen: list[tuple[Tensor, Tensor, str]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """One batch goes through the block inside this context, which keeps its inputs so long."""
        handles = [
            linear.module.register_forward_pre_hook(self._hook(name))
            for name, linear in self._linears.items()
        ]
        handles += [
            experts.module.register_forward_hook(routed.watch, with_kwargs=True)
            for experts, routed in self.routed.items()
        ]
        try:
            with removed(handles):
                yield
        finally:
            self._seen.clear()

    def _hook(self, name: str) -> Any:
        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            x: Tensor = args[0]
            # The tensors of this batch are kept alive, so that one object is one input.
            seen = next(((factor, other) for tensor, factor, other in self._seen if tensor is x), None)
            factor, first = seen or (x.to(factor_dtype(x.device)), name)
            if seen is None:
                self._seen.append((x, factor, name))
            if self.leader.setdefault(name, first) == name:
                if name not in self.accumulators:
                    self.accumulators[name] = Accumulator(x.shape[-1], x.device, loudness=self._loudness)
                self.accumulators[name].add(factor.reshape(-1, x.shape[-1]))
            # A plain layer would bring it to that dtype itself, each of those that share it anew.
            return (factor, *args[1:]) if type(module).forward is nn.Linear.forward else None

        return before
