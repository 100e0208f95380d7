"""What the engine calls a linear layer: a module of its own, or one expert's matrix in a tensor of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from quantize_lib.architecture.blocks import is_expert
from quantize_lib.engine.experts import FusedExperts


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """A linear layer of a block.

    Attributes:
        name: relative to the block: the module's, or `mlp.experts.3.gate_proj`.
        module: what holds its parameters: the layer itself, or the experts.
        experts: of an expert's layer, those that it is one of.
        expert: of an expert's layer, its number.
        part: of an expert's layer, which one it is (`gate_proj`, `up_proj`, `down_proj`).
    """

    name: str
    module: nn.Module
    experts: FusedExperts | None = None
    expert: int = 0
    part: str = ""

    @property
    def owner(self) -> str | None:
        """The expert that it is a layer of, as in `mlp.experts.3`; None where it is of none."""
        place = self.name.rpartition(".")[0]
        return place if self.experts is not None or is_expert(place) else None

    @property
    def view(self) -> Tensor:
        """The weight as (out, in), in the compute dtype. A view: changes go through."""
        if self.experts is not None:
            return self.experts.weight(self.expert, self.part)
        weight = cast(Tensor, self.module.weight)
        # A Conv1D stores (in, out).
        return weight if isinstance(self.module, nn.Linear) else weight.T

    @property
    def bias_view(self) -> Tensor | None:
        """The bias (out,), if it has one. A view: changes go through."""
        if self.experts is not None:
            return self.experts.bias(self.expert, self.part)
        bias = getattr(self.module, "bias", None)
        return bias if isinstance(bias, Tensor) else None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.view.shape
        return rows, columns


def find_linears(block: nn.Module) -> dict[str, Linear]:
    """Every linear layer of a block by relative name, in the order of its modules."""
    from transformers.pytorch_utils import Conv1D

    found: dict[str, Linear] = {}
    for name, module in block.named_modules():
        experts = FusedExperts.of(module)
        if isinstance(module, nn.Linear | Conv1D):
            found[name] = Linear(name=name, module=module)
        elif experts is not None:
            for expert in range(experts.count):
                for part in experts.parts:
                    full = f"{name}.{expert}.{part}"
                    found[full] = Linear(name=full, module=module, experts=experts, expert=expert, part=part)
    return found
