"""What any method that rounds to a grid asks of a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import LinearInput, Statistics
from quantize_lib.errors import EngineError

KEEP = "Keep the layer in full precision (modules_to_not_convert)."


def statistics_of(linear: LinearInput) -> Statistics:
    """The statistics of a layer that `check_input` took."""
    assert linear.statistics is not None
    return linear.statistics


def check_input(linear: LinearInput, method: str) -> None:
    """See that there are statistics, and whole groups of inputs.

    Args:
        method: its name, for the message.

    Raises:
        EngineError: where not.
    """
    if linear.statistics is None:
        raise EngineError(f"{linear.name} has no statistics, which {method} needs")
    inputs = linear.weight.shape[1]
    if linear.group_size > 0 and inputs % linear.group_size:
        raise EngineError(f"{linear.name} has {inputs} inputs, no multiple of {linear.group_size}")


def check_range(name: str, weight: Tensor) -> None:
    """See that weights as they are to be rounded fit float16 scales.

    Raises:
        EngineError: where not.
    """
    # Also true for NaN, which no comparison lets through.
    if not float(weight.abs().max()) <= torch.finfo(torch.float16).max:
        raise EngineError(
            f"{name} has weights that are not finite or too large for float16 scales", hint=KEEP
        )
