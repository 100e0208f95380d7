"""Carries held-out text through a block as a cell quantized it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.folds import weight_view
from quantize_lib.errors import EngineError


@contextmanager
def as_quantized(block: nn.Module, linears: Mapping[str, nn.Module], output: RoundedBlock) -> Iterator[None]:
    """Inside this context the block computes what its quantized form computes; afterwards it is as before.

    Args:
        block: the full-precision block.
        linears: its linear layers by relative name.
        output: what a method made of it.
    """
    saved: list[tuple[nn.Module, str, nn.Parameter]] = []

    def put(owner: nn.Module, name: str, value: Tensor) -> None:
        old = cast(nn.Parameter, owner._parameters[name])
        saved.append((owner, name, old))
        owner._parameters[name] = nn.Parameter(value.to(old.device, old.dtype), requires_grad=False)

    try:
        for name, layer in output.layers.items():
            module, weight = linears[name], layer.weight
            put(module, "weight", weight if weight_view(module) is module.weight else weight.T.contiguous())
        for name, value in output.params.items():
            path, _, leaf = name.rpartition(".")
            owner = block.get_submodule(path)
            if leaf in owner._parameters:
                put(owner, leaf, value)
            else:
                raise EngineError(f"{name} has no place in the full-precision block")
        for name, stand_in in output.modules.items():
            _set_submodule(block, name, stand_in)
        yield
    finally:
        for name in output.modules:
            _set_submodule(block, name, linears[name])
        for owner, leaf, parameter in reversed(saved):
            owner._parameters[leaf] = parameter


def _set_submodule(block: nn.Module, name: str, module: nn.Module) -> None:
    path, _, leaf = name.rpartition(".")
    block.get_submodule(path)._modules[leaf] = module
