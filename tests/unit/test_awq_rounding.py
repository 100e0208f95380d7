"""Rounding group by group, with and without zero points, folding into norms, and packing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.block import Fold
from quantize_lib.engine.methods.awq_rounding import (
    Target,
    group_metric,
    round_layer,
    round_to_nearest,
)
from quantize_lib.engine.methods.awq_scales import fold_norm
from quantize_lib.engine.methods.output_error import row_errors
from quantize_lib.packing.gemm import pack_gemm, unpack_gemm


def _target(group_size: int, *, bits: int = 4, symmetric: bool = False, lowest_zero: int = 0) -> Target:
    return Target(group_size=group_size, levels=2**bits - 1, symmetric=symmetric, lowest_zero=lowest_zero)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _hessian(width: int) -> Tensor:
    x = _random(4 * width, width) * torch.linspace(0.1, 3, width)
    return x.T @ x / len(x)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_on_a_grid_come_back_exactly(bits: int, symmetric: bool) -> None:
    levels = 2**bits - 1
    zero = (levels + 1) // 2 - (not symmetric)
    codes = torch.randint(0, levels + 1, (8, 64), generator=torch.Generator().manual_seed(0)).float()
    codes[:, ::16], codes[:, 1::16] = 0, levels
    weight = (codes - zero) * 0.125
    # Where there are no zero points, the long end of the grid may lie on either side.
    weight[4:] *= -1 if symmetric else 1
    rounded = round_layer(weight, _hessian(64), _target(16, bits=bits, symmetric=symmetric))
    assert torch.equal(rounded.weight, weight)
    assert torch.equal(rounded.codes, codes.to(torch.uint8))
    assert bool((rounded.zeros == zero).all())
    assert rounded.error == 0.0


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [16, 64, 256])
def test_the_search_never_does_worse_than_rounding_to_nearest_on_any_row(
    group_size: int, bits: int, symmetric: bool
) -> None:
    weight, hessian = _random(32, 256), _hessian(256)
    target = _target(group_size, bits=bits, symmetric=symmetric)
    searched = row_errors(weight - round_layer(weight, hessian, target).weight, hessian)
    plain = row_errors(weight - round_to_nearest(weight, target), hessian)
    assert bool((searched <= plain).all())
    if bits < 8:
        assert float(searched.sum()) < 0.95 * float(plain.sum())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_without_zero_points_all_are_in_the_middle_and_the_codes_mean_the_weight(bits: int) -> None:
    rounded = round_layer(_random(32, 128), _hessian(128), _target(32, bits=bits, symmetric=True))
    assert bool((rounded.zeros == 2 ** (bits - 1)).all())
    assert bool((rounded.scales < 0).any())
    assert bool((rounded.scales > 0).any())
    steps = rounded.codes.float().view(32, 4, 32) - 2 ** (bits - 1)
    assert torch.equal((steps * rounded.scales.float()[..., None]).flatten(1), rounded.weight)


def test_the_error_is_that_of_the_weight_that_was_returned() -> None:
    weight, hessian = _random(32, 128), _hessian(128)
    rounded = round_layer(weight, hessian, _target(32))
    difference = weight - rounded.weight
    assert rounded.error == pytest.approx(float(torch.trace(difference @ hessian @ difference.T)), rel=1e-4)


def test_groups_of_one_sign_and_of_zeros_are_representable() -> None:
    weight = torch.stack([torch.full((16,), 3.0), torch.full((16,), -3.0), torch.zeros(16)])
    for lowest_zero in (0, 1):
        rounded = round_layer(weight, torch.eye(16), _target(16, lowest_zero=lowest_zero))
        assert torch.allclose(rounded.weight, weight, rtol=0.01)
        assert int(rounded.zeros.min()) >= lowest_zero
    rounded = round_layer(weight, torch.eye(16), _target(16, symmetric=True))
    assert torch.allclose(rounded.weight, weight, rtol=0.01)


def test_scales_are_exact_in_float16_and_bfloat16() -> None:
    scales = round_layer(_random(32, 128) * 1e-3, _hessian(128), _target(16)).scales
    assert scales.dtype == torch.float16
    assert torch.equal(scales.to(torch.bfloat16).float(), scales.float())


def test_the_metric_of_a_group_is_its_block_of_the_second_moment() -> None:
    hessian = _hessian(64)
    assert torch.equal(group_metric(hessian, 16)[2], hessian[32:48, 32:48])
    large = _hessian(512)
    assert torch.equal(group_metric(large, 256)[1, 0], large.diagonal()[256:])


@pytest.mark.parametrize("kind", ["norm", "norm_plus_one"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_folding_into_a_norm_loses_nothing(kind: str, dtype: torch.dtype) -> None:
    offset = 1.0 if kind == "norm_plus_one" else 0.0
    weight = _random(512).to(dtype).float()
    scale = torch.exp(_random(512).flip(0))
    fold = Fold(source="norm", kind="norm_plus_one" if offset else "norm", targets=("fc",))
    folded, _, effective = fold_norm(fold, weight, None, scale, dtype)
    assert folded.dtype == dtype
    assert torch.allclose((folded.float() + offset) * effective, weight + offset, rtol=1e-6, atol=1e-7)
    assert float((effective / scale).log().abs().median()) < 0.01


def test_a_norm_weight_that_cannot_hold_the_scale_is_left_alone() -> None:
    plain = Fold(source="norm", kind="norm", targets=("fc",))
    plus_one = Fold(source="norm", kind="norm_plus_one", targets=("fc",))
    weight = torch.tensor([0.0, 2e-7, 1.0])
    folded, bias, effective = fold_norm(plain, weight, torch.ones(3), torch.full((3,), 512.0), torch.float16)
    assert torch.equal(effective[:2], torch.ones(2))
    assert torch.equal(folded[:2], weight[:2].half())
    assert bias is not None
    assert torch.equal(bias[:2], torch.ones(2).half())
    weight = torch.tensor([-1.0, 0.0])
    folded, _, effective = fold_norm(plus_one, weight, None, torch.full((2,), 2000.0), torch.bfloat16)
    assert torch.equal(effective, torch.ones(2))
    assert torch.equal(folded.float(), weight)


def test_gemm_words_hold_eight_outputs_in_awqs_order() -> None:
    codes = torch.arange(8)[:, None].repeat(1, 3)
    packed = pack_gemm(codes, codes[:, :1], torch.ones(8, 1, dtype=torch.float16))
    assert packed["qweight"].tolist() == [[0x75316420]] * 3
    assert packed["qzeros"].tolist() == [[0x75316420]]
    assert packed["scales"].shape == (1, 8)


def test_unpacking_undoes_packing() -> None:
    codes = torch.randint(0, 16, (24, 10), generator=torch.Generator().manual_seed(0))
    packed = pack_gemm(codes, codes[:, :2], torch.ones(24, 2, dtype=torch.float16))
    assert torch.equal(unpack_gemm(packed["qweight"]), codes.to(torch.uint8))
    assert torch.equal(unpack_gemm(packed["qzeros"]), codes[:, :2].to(torch.uint8))
