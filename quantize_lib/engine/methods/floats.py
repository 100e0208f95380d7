"""Small floating-point numbers, and scales for them: of the candidates the one with the least squared error.

E4M3 has 8 bits (Micikevicius et al. 2022, arXiv 2209.05433), E2M1 has 4 (OCP Microscaling Formats 1.0, 2023,
section 5.3.3). Both round half to even, and what is beyond the largest number becomes the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from quantize_lib.engine.finite import is_finite
from quantize_lib.engine.methods.layer_checks import KEEP
from quantize_lib.engine.methods.threads import one_thread
from quantize_lib.errors import EngineError

E4M3_MAX = 448.0
E2M1_MAX = 6.0
_SIGN = 8
"""E2M1's bit of the sign."""
_CHUNK = 1 << 17
"""Weights per step, so that temporaries stay in the processor's second cache."""

Round = Callable[[Tensor], Tensor]


def check_finite(name: str, weight: Tensor) -> None:
    """See that weights can be rounded at all.

    Raises:
        EngineError: where one is no number or infinite.
    """
    if not is_finite(weight):
        raise EngineError(f"{name} has weights that are not finite", hint=KEEP)


def to_e4m3(values: Tensor) -> Tensor:
    """Numbers of 8 bits, float8_e4m3fn, of the same shape."""
    return values.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def nearest_e4m3(values: Tensor) -> Tensor:
    """The nearest numbers of 8 bits in float32."""
    return to_e4m3(values).to(torch.float32)


def nearest_e2m1(values: Tensor) -> Tensor:
    """The nearest numbers of 4 bits in float32: 0, 0.5, 1, 1.5, 2, 3, 4 and 6, of either sign."""
    size = values.abs().clamp_(max=E2M1_MAX)
    # Neighbours are half apart up to 2, then 1 apart up to 4, then 2.
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign((size / step).round_().mul_(step), values)


def e2m1_codes(numbers: Tensor) -> Tensor:
    """What numbers of 4 bits look like: uint8 0 .. 15, the sign above the place among the sizes."""
    twice = numbers.abs() * 2
    # Sizes, doubled: 0, 1, 2, 3, 4, 6, 8, 12.
    place = torch.where(twice < 4, twice, torch.where(twice < 8, twice / 2 + 2, twice / 4 + 4))
    return place.to(torch.uint8) + torch.signbit(numbers).to(torch.uint8) * _SIGN


def pieces(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Rows of a matrix, so many that work on them stays in the processor's second cache."""
    # A GPU has no use for small steps; there, memory is what bounds them.
    step = max(1, (_CHUNK if device.type == "cpu" else _CHUNK << 7) // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def search(groups: Tensor, candidates: Callable[[Tensor], Tensor], nearest: Round) -> Tensor:
    """Choose each group's scale among candidates: least squared error; of equals the first.

    Args:
        groups: float32 (out, groups, size), finite.
        candidates: gives positive scales (candidates, out, groups) of the largest sizes (out, groups).
        nearest: rounds to the type's numbers, in float32.

    Returns:
        Scales, float32 (out, groups).
    """
    rows, count, size = groups.shape
    scales = torch.empty(rows, count, dtype=torch.float32, device=groups.device)
    with one_thread():
        for piece in pieces(rows, count * size, groups.device):
            some = groups[piece]
            offered = candidates(some.abs().amax(-1))
            errors = []
            for scale in offered:
                wide = scale.unsqueeze(-1)
                errors.append(nearest(some / wide).mul_(wide).sub_(some).square_().sum(-1))
            best = torch.stack(errors).argmin(0, keepdim=True)
            scales[piece] = offered.gather(0, best).squeeze(0)
    return scales
