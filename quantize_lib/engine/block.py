"""What a rounding method gets and gives: one decoder block or a part of it, its weights and its statistics.

Names are relative to the block (`self_attn.q_proj`), so that a method never knows where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from quantize_lib.formats.rounded import RoundedLayer

T = TypeVar("T")


class Statistics:
    """What a method needs to know about the inputs of linear layers that share one input.

    Attributes:
        hessian: XᵀX/n over the calibration tokens, float32, (in, in), symmetric.
        mean_abs: mean of |x| per input channel, float32, (in,).
        tokens: n, the number of tokens seen.

    The object lives as long as its block. `derived` keeps what several cells compute alike (a permuted
    Cholesky factor, say), so that a further cell does not pay for it again.
    """

    def __init__(self, hessian: Tensor, mean_abs: Tensor | None, tokens: int) -> None:
        self.hessian = hessian
        self._mean_abs = mean_abs
        self.tokens = tokens
        self._derived: dict[Hashable, object] = {}
        self._lock = RLock()

    @property
    def mean_abs(self) -> Tensor:
        """It is there only where some cell asks for folds."""
        assert self._mean_abs is not None, "nobody asked for mean |x|"
        return self._mean_abs

    def derived(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value kept under `key`, computed at its first use, by one thread while others wait."""
        with self._lock:
            if key not in self._derived:
                self._derived[key] = compute()
            return cast(T, self._derived[key])


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How quantized blocks changed one input of a block's layers, x in the base model and z now: means.

    Where the input is divided by a scale, z is what it would be without.

    Attributes:
        change: E[(x - z)·zᵀ], float32 (in, in).
        missing: by layer that adds to the residual stream, r that of the base before it adds and s the
            quantized model's, E[(r - s)·zᵀ], float32 (out, in).
    """

    change: Tensor
    missing: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LinearInput:
    """One linear layer of the block.

    Attributes:
        weight: float32 (out, in), also for a Conv1D, whose own layout is (in, out). Never changed in place.
        bias: float32 (out,), or None.
        statistics: None where no cell of the job needs them.
        bits, group_size: resolved, overrides applied; group_size is -1 for one group per row.
        kind: the type in which the format stores it, where it has several.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    statistics: Statistics | None
    bits: int
    group_size: int
    conv1d: bool = False
    kind: str = ""

    @property
    def group_inputs(self) -> int:
        """How many inputs share a scale."""
        return self.group_size if self.group_size > 0 else self.weight.shape[1]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A place where input scales of `targets` can be undone in front of them, proven on a sample forward.

    Attributes:
        source: the module whose output feeds the targets (through something that commutes with a positive
            scale per channel): a norm, or a linear layer.
        kind: `norm`: weight (and bias) are divided; `norm_plus_one`: the module multiplies with
            (1 + weight), as Gemma's; `linear`: the output rows (and bias) are divided.
        rows: the rows of a fused linear source that feed the targets, as (start, stop); None for all.
        repeat: how many consecutive target channels blocks of `head_dim` share one source row block
            (grouped-query attention); 1 where channels map one to one.
        head_dim: the size of such a block.
        targets: the linear layers that read the scaled input, all of them.
    """

    source: str
    kind: Literal["norm", "norm_plus_one", "linear"]
    targets: tuple[str, ...]
    rows: tuple[int, int] | None = None
    repeat: int = 1
    head_dim: int = 1


@dataclass(frozen=True, kw_only=True)
class BlockInput:
    """One block, or a part of it that is rounded in one go, as a method sees it.

    Attributes:
        index: which decoder block.
        linears: the layers to be quantized, by relative name, in the model's order.
        params: the parameters of norms that folds name, by relative name, float32.
        folds: where scales can be folded; used by methods that scale inputs.
        dtype: the dtype in which unquantized tensors are written to disk.
    """

    index: int
    linears: Mapping[str, LinearInput]
    params: Mapping[str, Tensor]
    folds: tuple[Fold, ...]
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class RoundedBlock:
    """What a method made of a block.

    Attributes:
        layers: the rounded linears by relative name, in the model's order.
        params: other parameters that changed, by relative name, already in the dtype of the disk
            (`input_layernorm.weight`, `self_attn.v_proj.bias`).
        modules: stand-ins for linears whose forward is more than a product with the rounded weight
            (LLM.int8 quantizes activations too), used when text is carried through the quantized block.
        errors: per linear the relative output error tr(ΔW·H·ΔWᵀ)/tr(W·H·Wᵀ), ΔW from the weight
            as it was to be rounded and with the scales that it was rounded with; empty without statistics.
        notes: things worth a line in log and report (damping that had to grow, dead columns).
    """

    layers: Mapping[str, RoundedLayer]
    params: Mapping[str, Tensor] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
