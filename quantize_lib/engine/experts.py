"""Experts that a module holds in tensors of three dimensions, and what the router sends to each of them.

transformers keeps a mixture's experts so, whatever lies on disk. What is known of such a module is what its
decorator `use_experts_implementation` says (transformers/integrations/moe.py), and is read off the shapes
where a class has none. That this is what it computes is shown by one batch of the calibration text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_lib.engine.precision import factor_dtype
from quantize_lib.errors import EngineError
from quantize_lib.sizing import TOKENS_PER_BATCH

GATE, UP, DOWN = "gate_proj", "up_proj", "down_proj"
_PROOF_DIFFERENCE = 0.05
"""Of an output's length: bfloat16 products differ by a hundredth, weights taken for others by all of it."""


class FusedExperts:
    """The experts of one module.

    Attributes:
        module: what holds them.
        count: how many they are.
        parts: the layers of each expert, in the order in which they are used.
        inputs: of the layers that read hidden states.
        inner: of the layer that gives hidden states back.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        parameters = module._parameters
        self._gated = parameters.get("gate_up_proj") is not None
        self._first = "gate_up_proj" if self._gated else "up_proj"
        self.parts = (GATE, UP, DOWN) if self._gated else (UP, DOWN)
        first = cast(Tensor, parameters[self._first])
        down = cast(Tensor, parameters[DOWN])
        # LongCat's last experts pass hidden states on, and have nothing to give them back with.
        self.count = len(down)
        said = getattr(module, "is_transposed", None)
        halves = 2 if self._gated else 1
        self._transposed = (
            bool(said) if said is not None else down.shape[1:] == (first.shape[2] // halves, first.shape[1])
        )
        self._concatenated = bool(getattr(module, "is_concatenated", True))
        self.inner, self.inputs = down.shape[1:] if self._transposed else reversed(down.shape[1:])

    @classmethod
    def of(cls, module: nn.Module) -> FusedExperts | None:
        """The experts that a module holds; None where it holds none, or not in this way."""
        down = module._parameters.get(DOWN)
        first = module._parameters.get("gate_up_proj", module._parameters.get("up_proj"))
        if down is None or first is None or down.dim() != 3 or first.dim() != 3:
            return None
        # Of a gate of its own nothing is known.
        return None if GATE in module._parameters else cls(module)

    def weight(self, expert: int, part: str) -> Tensor:
        """A view (out, in) of one layer's weight."""
        weight = cast(Tensor, self.module._parameters[DOWN if part == DOWN else self._first])[expert]
        return self._part(weight.T if self._transposed else weight, part)

    def bias(self, expert: int, part: str) -> Tensor | None:
        """A view (out,) of one layer's bias."""
        bias = self.module._parameters.get(f"{DOWN if part == DOWN else self._first}_bias")
        return None if bias is None else self._part(bias[expert], part)

    def _part(self, rows: Tensor, part: str) -> Tensor:
        """The rows of a layer, of those of the layers that share a tensor with it."""
        if part == DOWN or not self._gated:
            return rows
        if self._concatenated:
            half = len(rows) // 2
            return rows[:half] if part == GATE else rows[half:]
        return rows[0 if part == GATE else 1 :: 2]

    def between(self, expert: int, hidden: Tensor) -> Tensor:
        """What an expert's last layer reads: (tokens, inner) from hidden states (tokens, inputs)."""
        weight = cast(Tensor, self.module._parameters[self._first])[expert]
        bias = self.module._parameters.get(f"{self._first}_bias")
        out = functional.linear(
            hidden.to(weight.dtype),
            weight.T if self._transposed else weight,
            None if bias is None else bias[expert],
        )
        module = cast(Any, self.module)
        if not self._gated:
            return cast(Tensor, module.act_fn(out))
        if hasattr(module, "_apply_gate"):
            return cast(Tensor, module._apply_gate(out))
        gate, up = out.chunk(2, dim=-1)
        return cast(Tensor, module.act_fn(gate) * up)

    def output(self, expert: int, hidden: Tensor) -> Tensor:
        """What an expert makes of hidden states (tokens, inputs)."""
        between = self.between(expert, hidden)
        out = functional.linear(between, self.weight(expert, DOWN), self.bias(expert, DOWN))
        norm = getattr(self.module, "post_expert_norm", None)
        return out if norm is None else cast(Tensor, norm(out))


class RoutedTokens:
    """What the router sent to each expert, kept as it came: each token once, and who got it.

    Statistics of an expert are made of it when its turn comes: those of all need not be there at once.

    Attributes:
        name: of the module that holds the experts, relative to the block.
        experts: it holds.
    """

    def __init__(self, name: str, experts: FusedExperts) -> None:
        self.experts = experts
        self.name = name
        self._hidden: list[Tensor] = []
        self._tokens: list[Tensor] = []
        self._starts: list[list[int]] = []

    def counts(self) -> list[int]:
        """How many tokens each expert got."""
        return [
            sum(starts[expert + 1] - starts[expert] for starts in self._starts)
            for expert in range(self.experts.count)
        ]

    def of(self, expert: int) -> Iterator[Tensor]:
        """An expert's tokens (n, inputs), so many at once as a batch has."""
        found: list[Tensor] = []
        most = TOKENS_PER_BATCH["cpu"]
        for hidden, tokens, starts in zip(self._hidden, self._tokens, self._starts, strict=True):
            if starts[expert] < starts[expert + 1]:
                found.append(hidden[tokens[starts[expert] : starts[expert + 1]]])
            if sum(map(len, found)) >= most:
                yield torch.cat(found)
                found.clear()
        if found:
            yield torch.cat(found)

    def all(self) -> Iterator[Tensor]:
        """All tokens (n, inputs) that came to any expert, each once."""
        yield from self._hidden

    def watch(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Take what the experts were called with; a forward hook.

        Raises:
            EngineError: where the first batch shows that they compute something else than is known of them.
        """
        given = [*args, *kwargs.values()]
        if len(given) == 1:
            hidden, tokens, owners = self._dense(given[0])
        else:
            hidden, owners = given[0], given[1].flatten()
            tokens = torch.arange(owners.numel(), device=owners.device) // given[1].shape[-1]
        order = torch.argsort(owners, stable=True)
        bounds = torch.arange(self.experts.count + 1, device=owners.device)
        starts = torch.searchsorted(owners[order], bounds).tolist()
        if not self._hidden:
            self._prove(given, output)
        # As products take them: half of it on a CPU with matrix units.
        self._hidden.append(hidden.to(factor_dtype(hidden.device)))
        self._tokens.append(tokens[order].to(torch.int32))
        self._starts.append(starts)

    def _dense(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Llama 4 gives each expert every token, with zeros in place of those that are not its own."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        own = rows.abs().amax(-1).nonzero()[:, 0]
        owners = own // (len(rows) // self.experts.count)
        return rows[own], torch.arange(len(own), device=own.device), owners

    def _prove(self, given: list[Any], output: Tensor) -> None:
        expected = torch.zeros_like(output)
        if len(given) == 1:
            parts = given[0].reshape(self.experts.count, -1, given[0].shape[-1])
            made = [self.experts.output(expert, part) for expert, part in enumerate(parts)]
            expected = torch.cat(made).view_as(output)
            usable = torch.ones(len(output), dtype=torch.bool, device=output.device)
        else:
            hidden, chosen, weights = given[:3]
            for expert in range(self.experts.count):
                rows, places = torch.where(chosen == expert)
                if len(rows):
                    made_of = self.experts.output(expert, hidden[rows]) * weights[rows, places, None]
                    expected.index_add_(0, rows, made_of.to(expected.dtype))
            usable = (chosen < self.experts.count).all(-1)
        difference = (output - expected)[usable].float().norm()
        if not bool(difference <= _PROOF_DIFFERENCE * output[usable].float().norm()):
            raise EngineError(
                f"{self.name} ({type(self.experts.module).__name__}) computes something else than is known "
                "of experts",
                hint="Keep them in full precision (allow_partial, or modules_to_not_convert).",
            )
