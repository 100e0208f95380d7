"""Whether all values of a tensor are finite."""

from __future__ import annotations

import torch
from torch import Tensor


def is_finite(values: Tensor) -> bool:
    """Whether all of them are; the sum alone says so, mostly, in a twentieth of the time."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
