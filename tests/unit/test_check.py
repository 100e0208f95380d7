"""Whether a reload reproduced the pass."""

from __future__ import annotations

import math

import pytest

from quantize_lib.evaluate.check import (
    FLOAT32,
    HALF,
    INT8_ACTIVATIONS,
    PassFigures,
    Tolerance,
    is_reproduced,
    tolerance,
)

EXPECTED = PassFigures(nll=3.5, kl=0.1)


def test_the_tolerance_follows_what_was_loaded() -> None:
    assert tolerance("float32", {}) is FLOAT32
    assert tolerance("float32", {"quant_method": "gptq", "bits": 8}) is FLOAT32
    assert tolerance("float32", {"quant_method": "gptq", "bits": 4}) is HALF
    assert tolerance("float32", {"quant_method": "awq", "bits": 4}) is HALF
    assert tolerance("float16", {"quant_method": "gptq", "bits": 8}) is HALF
    assert tolerance("bfloat16", {"quant_method": "bitsandbytes", "load_in_4bit": True}) is HALF
    assert tolerance("bfloat16", {"quant_method": "bitsandbytes", "load_in_8bit": True}) is INT8_ACTIVATIONS


@pytest.mark.parametrize("allowed", [FLOAT32, HALF, INT8_ACTIVATIONS])
def test_a_difference_within_the_tolerance_is_rounding_and_one_beyond_is_not(allowed: Tolerance) -> None:
    kl_slack = allowed.kl_absolute + allowed.kl_relative * EXPECTED.kl
    nll_slack = allowed.nll

    def judged(nll: float, kl: float) -> bool:
        return is_reproduced(nll, kl, EXPECTED, allowed)

    assert judged(3.5 + 0.9 * nll_slack, 0.1 - 0.9 * kl_slack)
    assert not judged(3.5 + 1.1 * nll_slack, 0.1)
    assert not judged(3.5 - 1.1 * nll_slack, 0.1)
    assert not judged(3.5, 0.1 + 1.1 * kl_slack)
    assert not judged(3.5, 0.1 - 1.1 * kl_slack)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_never_reproduced(value: float) -> None:
    assert not is_reproduced(value, 0.1, EXPECTED, HALF)
    assert not is_reproduced(3.5, value, EXPECTED, HALF)
    assert not is_reproduced(value, 0.1, PassFigures(nll=value, kl=0.1), HALF)


def test_without_base_logits_the_likelihood_alone_decides() -> None:
    assert is_reproduced(3.5, None, EXPECTED, FLOAT32)
    assert not is_reproduced(3.6, None, EXPECTED, FLOAT32)
