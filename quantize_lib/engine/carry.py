"""Carries held-out text through a block as a cell quantized it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.rounded_inputs import round_inputs_of
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import InputRounding
from quantize_lib.text import plain

Put = Callable[[Mapping[str, Linear], RoundedBlock], None]


@contextmanager
def as_quantized(
    block: nn.Module, *, stored: torch.dtype, inputs: InputRounding | None = None
) -> Iterator[Put]:
    """Inside this context the block computes what its quantized form computes; afterwards it is as before.

    Args:
        block: the full-precision block.
        stored: the dtype of its weights on disk: as such those of experts are kept meanwhile.
        inputs: how loaders round the inputs of quantized layers; those of experts they leave as they are.

    Yields:
        What puts rounded layers in their places: takes linear layers by relative name, and what a method made
        of them.

    Raises:
        EngineError: where text does not go through the block's quantized form.
    """
    form = _QuantizedForm(block, stored, inputs)
    try:
        yield form.put
    except RuntimeError as error:
        # What a library makes of a layer may not take what the model gives it; the other cells can go on.
        raise EngineError(
            f"held-out text does not go through what was made of it: {plain(str(error))}"
        ) from error
    finally:
        form.restore()


class _QuantizedForm:
    def __init__(self, block: nn.Module, stored: torch.dtype, inputs: InputRounding | None) -> None:
        self._block = block
        self._stored = stored
        self._inputs = inputs
        self._undo: list[Callable[[], None]] = []

    def put(self, linears: Mapping[str, Linear], output: RoundedBlock) -> None:
        """Put the layers that a method made in the place of these."""
        for name, layer in output.layers.items():
            linear = linears[name]
            if linear.experts is not None:
                self._overwrite(linear.view, layer.weight)
            else:
                upright = isinstance(linear.module, nn.Linear)
                self._replace(
                    linear.module, "weight", layer.weight if upright else layer.weight.T.contiguous()
                )
                if self._inputs is not None:
                    self._undo.append(round_inputs_of(linear.module, self._inputs).remove)
        for name, value in output.params.items():
            path, _, leaf = name.rpartition(".")
            linear_bias = linears[path].bias_view if path in linears else None
            if linear_bias is not None and linears[path].experts is not None:
                self._overwrite(linear_bias, value)
                continue
            owner = self._block.get_submodule(path)
            if leaf not in owner._parameters:
                raise EngineError(f"{name} has no place in the full-precision block")
            self._replace(owner, leaf, value)
        for name, stand_in in output.modules.items():
            self._stand_in(name, stand_in, linears[name].module)

    def restore(self) -> None:
        """Make the block what it was."""
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: nn.Module, name: str, value: Tensor) -> None:
        old = cast(nn.Parameter, owner._parameters[name])
        owner._parameters[name] = nn.Parameter(value.to(old.device, old.dtype), requires_grad=False)
        self._undo.append(lambda: owner._parameters.__setitem__(name, old))

    def _overwrite(self, view: Tensor, value: Tensor) -> None:
        """Change a part of a parameter, which holds other experts besides."""
        # The values come from the disk in most cases, and have their room in that dtype.
        short = view.to(self._stored)
        old = short if torch.equal(short.to(view.dtype), view) else view.clone()
        if old is view:
            old = view.clone()
        view.copy_(value)
        self._undo.append(lambda: cast(None, view.copy_(old)))

    def _stand_in(self, name: str, module: nn.Module, original: nn.Module) -> None:
        path, _, leaf = name.rpartition(".")
        owner = self._block.get_submodule(path)
        owner._modules[leaf] = module
        self._undo.append(lambda: owner._modules.__setitem__(leaf, original))
