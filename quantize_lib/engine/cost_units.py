"""Layers of a block that have the same, and what is seen of it while choices are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.carried import hidden_of
from quantize_lib.engine.linears import Linear
from quantize_lib.methods.settings import LayerWidth

REFERENCE_BITS = 3
"""Layers of a block that is followed to the logits have about so many: errors are seen well there, and are
still small."""
Rounded = tuple[Mapping[str, Linear], RoundedBlock]
"""Layers of a block by relative name, and what was made of them."""


@dataclass(kw_only=True)
class Unit:
    """A unit's layers in one block.

    Attributes:
        experts: whether they are all experts' of the block.
        layers: full names.
        changes: of the block's output, as a part of it, by what they are rounded to.
        errors: sums over the layers of the relative output error.
        reference: what they are rounded to in a block that is followed to the logits.
        rounded: to the reference, by the layers' own modules; of many experts the first few.
        seen: the change that these make.
    """

    experts: bool
    layers: list[str] = field(default_factory=list)
    changes: dict[LayerWidth, float] = field(default_factory=dict)
    errors: dict[LayerWidth, float] = field(default_factory=dict)
    reference: LayerWidth = ""
    rounded: list[Rounded] = field(default_factory=list)
    seen: float = 0.0


def distance(changed: Tensor, original: Tensor) -> float:
    """Mean over tokens of a change, as a part of what is changed: the loud ones are no more than others."""
    new, old = hidden_of(changed).float(), hidden_of(original).float()
    tiny = torch.finfo(torch.float32).tiny
    return float(((new - old).square().sum(-1) / old.square().sum(-1).clamp_min(tiny)).mean())
