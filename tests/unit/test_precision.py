"""The arithmetic of calibration: close enough, the same each time, and confined to calibration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.precision import calibrating, calibration_arithmetic, factor_dtype

_CPU = torch.device("cpu")


def _product() -> tuple[Tensor, Tensor, Tensor]:
    """Two factors, and their product in float64."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(256, 128, generator=generator), torch.randn(128, 64, generator=generator)
    return left, right, left.double() @ right.double()


def test_products_are_as_exact_as_their_arithmetic_says() -> None:
    left, right, exact = _product()
    with calibrating(_CPU):
        found = left @ right
        assert found.dtype == factor_dtype(_CPU)
    assert str(found.dtype) == f"torch.{calibration_arithmetic(_CPU)}"
    error = float((found.double() - exact).norm() / exact.norm())
    # bfloat16 keeps 8 bits of the factors and of the result, float32 24.
    assert error < (6e-3 if found.dtype == torch.bfloat16 else 1e-6)


def test_another_thread_computes_in_float32_meanwhile() -> None:
    left, right, exact = _product()
    with calibrating(_CPU), ThreadPoolExecutor(1) as pool:
        found = pool.submit(torch.matmul, left, right).result()
    assert float((found - exact).norm() / exact.norm()) < 1e-6


def test_products_are_the_same_each_time() -> None:
    left, right, _ = _product()
    with calibrating(_CPU):
        assert torch.equal(left @ right, left @ right)


def test_what_follows_is_float32_again_also_after_an_error() -> None:
    left, right, exact = _product()
    with pytest.raises(ZeroDivisionError), calibrating(_CPU):
        raise ZeroDivisionError
    assert (left @ right).dtype == factor_dtype(_CPU) == torch.float32
    assert float((left @ right - exact).norm() / exact.norm()) < 1e-6


def test_other_devices_than_a_cpu_keep_their_own_arithmetic() -> None:
    assert calibration_arithmetic(torch.device("mps")) == "float32"
    left, right, exact = _product()
    with calibrating(torch.device("mps")):
        assert float((left @ right - exact).norm() / exact.norm()) < 1e-6
