"""What of a model decides whether a format can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What of a model decides whether a format can hold it.

    Attributes:
        model_type: of the language model's part of `config.json`.
        conv1d: whether its linear layers are Conv1D modules, whose weights are (in, out).
        experts: whether it is a mixture of experts.
        sizes: inputs and outputs of the layers that are to be quantized.
        fused_experts: whether its files hold a matrix of every expert in one tensor.
        expert_share: how much of the layers' weights is the experts'.
        kept_share: how much of the blocks' weights is in no layer that can be quantized.
        sixteen_bits: whether its layers are stored in a type of 16 bits.
        numbered: whether a layer's own name is a number.
        part: whether the language model is a part of a larger one, as of a vision-language model.
        config: the language model's part of `config.json`, with its class's defaults.
    """

    model_type: str
    conv1d: bool = False
    experts: bool = False
    sizes: frozenset[tuple[int, int]] = frozenset()
    fused_experts: bool = False
    expert_share: float = 0.0
    kept_share: float = 0.0
    sixteen_bits: bool = False
    numbered: bool = False
    part: bool = False
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def mostly_kept(self) -> bool:
        """Whether most of the blocks' weights stay in full precision, whatever the format."""
        return self.kept_share > 0.5
