"""Sums as tensors that travel, and the sums of several parts of a text added up from them.

Of each distinct input there are three tensors: `NAME/second_moment`, one triangle of XᵀX, row after row,
float32; `NAME/abs_sum`, float32 (in,); `NAME/tokens`, int64 (1,). NAME is the full names of the layers that
share the input, with commas between them. Of experts that one module holds it is `MODULE.NUMBER.inputs` and
`MODULE.NUMBER.inner`, and `MODULE.inputs` for all tokens that came to any of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from quantize_lib.engine.expert_statistics import accumulators
from quantize_lib.engine.experts import FusedExperts
from quantize_lib.engine.finite import is_finite
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.second_moment import add_packed, packed, packed_diagonal, packed_length
from quantize_lib.engine.sums import Accumulator, BlockSums, ExpertSums, LayerSums
from quantize_lib.errors import CalibrationError

_MOMENT, _ABS, _TOKENS = "second_moment", "abs_sum", "tokens"
MOST_TOKENS = 2**53


class Part(Protocol):
    """The stored sums of one part of the text.

    Attributes:
        names: of its tensors.
    """

    @property
    def names(self) -> Collection[str]: ...

    def read(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """One of its tensors, on the CPU.

        Raises:
            CalibrationError: where it has another dtype or shape, or cannot be read.
        """

    def fault(self, reason: str) -> CalibrationError:
        """What is wrong with it, and what to do about it."""


def stored(prefix: str, sums: BlockSums) -> Iterator[tuple[str, Tensor]]:
    """A block's sums as tensors by name; of experts one is in memory at a time.

    Args:
        prefix: the block's full name.
    """
    for members in sums.layers.groups():
        name = ",".join(f"{prefix}.{member}" for member in members)
        yield from _tensors(name, sums.layers.accumulators[sums.layers.leader[members[0]]])
    for module, experts in sums.experts.items():
        yield from _tensors(f"{prefix}.{module}.inputs", experts.inputs())
        for expert in range(experts.experts.count):
            hidden, between = experts.of(expert)
            # Of an expert without tokens there is nothing to say.
            if hidden.tokens:
                yield from _tensors(f"{prefix}.{module}.{expert}.inputs", hidden)
                yield from _tensors(f"{prefix}.{module}.{expert}.inner", between)


def _tensors(name: str, sums: Accumulator) -> Iterator[tuple[str, Tensor]]:
    assert sums.abs_sum is not None
    yield f"{name}/{_MOMENT}", packed(sums.hessian)
    yield f"{name}/{_ABS}", sums.abs_sum
    yield f"{name}/{_TOKENS}", torch.tensor([sums.tokens], dtype=torch.int64)


class StoredSums:
    """The sums of all parts of a text, added up block by block. They are foreign, and checked as they come.

    It is a calibrator's `GivenSums`.

    Args:
        parts: in the order of the text.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._inputs: dict[str, str] = {}
        """Of each layer that is a module the name of its input, by its full name."""
        for part in parts:
            for name in part.names:
                shared = name.rpartition("/")[0]
                for layer in shared.split(","):
                    if self._inputs.setdefault(layer, shared) != shared:
                        raise part.fault(f"{layer} does not share its input with the layers that it should")

    def of_block(self, prefix: str, linears: Mapping[str, Linear]) -> BlockSums:
        """Those of a block; see `GivenSums`."""
        sums = LayerSums(linears)
        by_input: dict[str, str] = {}
        experts: dict[str, ExpertSums] = {}
        for name, linear in linears.items():
            if linear.experts is not None:
                module = name.rsplit(".", 2)[0]
                experts.setdefault(module, _Experts(self, f"{prefix}.{module}", linear.experts))
                continue
            shared = self._inputs.get(f"{prefix}.{name}")
            if shared is None:
                if linear.owner is None:
                    raise self.lacking(f"{prefix}.{name}")
                # No token came to this expert; it borrows from the others.
                continue
            leader = sums.leader[name] = by_input.setdefault(shared, name)
            if leader == name:
                sums.accumulators[name] = self.added(shared, Accumulator(linear.shape[1], linear.view.device))
        return BlockSums(layers=sums, experts=experts)

    def lacking(self, layer: str) -> CalibrationError:
        """What is wrong where nothing is known of a layer."""
        return self._parts[0].fault(f"it has nothing of {layer}: it was made for other cells")

    def added(self, name: str, sums: Accumulator) -> Accumulator:
        """What all parts have of an input, added to empty sums."""
        assert sums.abs_sum is not None
        device, width = sums.hessian.device, sums.width
        whole = torch.zeros(width, width)
        for part in self._parts:
            tokens = self.tokens(name, part)
            if not tokens:
                continue
            moment = part.read(f"{name}/{_MOMENT}", torch.float32, (packed_length(width),))
            loudness = part.read(f"{name}/{_ABS}", torch.float32, (width,))
            if not is_finite(moment) or not is_finite(loudness):
                raise part.fault(f"its sums for {name} are not finite")
            if bool((loudness < 0).any()) or bool((packed_diagonal(moment, width) < 0).any()):
                raise part.fault(f"its sums for {name} are negative, which no sum of squares is")
            add_packed(whole, moment)
            sums.abs_sum += loudness.to(device)
            sums.tokens += tokens
        sums.hessian = whole.to(device)
        return sums

    def tokens(self, name: str, part: Part) -> int:
        """How many tokens of a part came to an input."""
        if f"{name}/{_TOKENS}" not in part.names:
            return 0
        count = int(part.read(f"{name}/{_TOKENS}", torch.int64, (1,)))
        if not 0 <= count <= MOST_TOKENS:
            raise part.fault(f"{count} tokens are no number of tokens for {name}")
        return count

    def all_tokens(self, name: str) -> int:
        """How many tokens of all parts came to an input."""
        return sum(self.tokens(name, part) for part in self._parts)


class _Experts:
    """The experts of one module; it is an `ExpertSums`."""

    def __init__(self, stored: StoredSums, module: str, experts: FusedExperts) -> None:
        self._stored = stored
        self._module = module
        self.experts = experts
        if not stored.all_tokens(f"{module}.inputs"):
            raise stored.lacking(module)

    def least(self) -> int:
        return min(
            self._stored.all_tokens(f"{self._module}.{expert}.inputs") for expert in range(self.experts.count)
        )

    def of(self, expert: int) -> tuple[Accumulator, Accumulator]:
        hidden, between = accumulators(self.experts)
        added, name = self._stored.added, f"{self._module}.{expert}"
        return added(f"{name}.inputs", hidden), added(f"{name}.inner", between)

    def inputs(self) -> Accumulator:
        return self._stored.added(f"{self._module}.inputs", accumulators(self.experts)[0])

    def inner(self) -> Accumulator:
        whole = accumulators(self.experts)[1]
        for expert in range(self.experts.count):
            whole.include(self._stored.added(f"{self._module}.{expert}.inner", accumulators(self.experts)[1]))
        return whole
