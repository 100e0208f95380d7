"""Inputs as loaders round them before a quantized layer: E4M3, scaled by the largest size.

As the package compressed-tensors simulates it (`forward_quantize` of its release 0.20.1), but that it takes
one scale for all tokens where a model gives a layer two dimensions (OPT does), which kernels do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quantize_lib.engine.methods.floats import E4M3_MAX, to_e4m3
from quantize_lib.formats.rounded import InputRounding


def rounded(inputs: Tensor, rounding: InputRounding) -> Tensor:
    """What is left of a layer's inputs, in their dtype.

    Args:
        inputs: (…, in); whole groups.
    """
    groups = inputs if rounding.group is None else inputs.unflatten(-1, (-1, rounding.group))
    scales = groups.abs().amax(-1, keepdim=True) / E4M3_MAX
    scales = torch.where(scales == 0, torch.finfo(scales.dtype).eps, scales)
    numbers = to_e4m3(groups / scales).to(scales.dtype)
    return (numbers * scales).reshape(inputs.shape)


def round_inputs_of(module: nn.Module, rounding: InputRounding) -> torch.utils.hooks.RemovableHandle:
    """Have a linear layer's inputs rounded before each forward, until the handle is removed."""

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (rounded(inputs[0], rounding), *inputs[1:])

    return module.register_forward_pre_hook(before)
