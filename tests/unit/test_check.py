"""Whether a reload reproduced the pass."""

from __future__ import annotations

import math
from typing import Any

import pytest

from quantize_lib.evaluate.check import is_no_worse, is_reproduced
from quantize_lib.formats import format_of_config
from quantize_lib.metrics import COMPARED
from quantize_lib.precision import Precision

EXPECTED = dict.fromkeys(COMPARED, 0.1)


@pytest.mark.parametrize(
    ("dtype", "quantization", "expected"),
    [
        ("float32", {"quant_method": "gptq", "bits": 8}, Precision.FLOAT32),
        ("float32", {"quant_method": "gptq", "bits": 4}, Precision.HALF),
        ("float32", {"quant_method": "awq", "bits": 4}, Precision.HALF),
        ("float16", {"quant_method": "gptq", "bits": 8}, Precision.HALF),
        ("float32", {"quant_method": "compressed-tensors"}, Precision.FLOAT32),
        ("bfloat16", {"quant_method": "compressed-tensors"}, Precision.HALF),
        ("bfloat16", {"quant_method": "bitsandbytes", "load_in_8bit": False}, Precision.HALF),
        ("bfloat16", {"quant_method": "bitsandbytes", "load_in_8bit": True}, Precision.ROUNDED_INPUTS),
    ],
)
def test_the_precision_follows_what_was_loaded(
    dtype: str, quantization: dict[str, Any], expected: Precision
) -> None:
    chosen = format_of_config(quantization)
    assert chosen is not None
    assert chosen.precision(dtype, quantization) is expected


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("name", COMPARED)
def test_a_difference_within_the_tolerance_is_rounding_and_one_beyond_is_not(
    name: str, precision: Precision
) -> None:
    tolerance = COMPARED[name].tolerances[precision]
    slack = tolerance.absolute + tolerance.relative * EXPECTED[name]
    for sign in (-1, 1):
        near, far = (EXPECTED[name] + sign * factor * slack for factor in (0.9, 1.1))
        assert is_reproduced({**EXPECTED, name: near}, EXPECTED, precision)
        assert not is_reproduced({**EXPECTED, name: far}, EXPECTED, precision)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", COMPARED)
def test_what_is_not_finite_is_never_reproduced(name: str, value: float) -> None:
    bad = {**EXPECTED, name: value}
    assert not is_reproduced(bad, EXPECTED, Precision.HALF)
    assert not is_reproduced(EXPECTED, bad, Precision.HALF)
    assert not is_reproduced(bad, bad, Precision.HALF)


@pytest.mark.parametrize("name", COMPARED)
def test_what_rounds_less_may_be_better_by_any_amount_and_worse_by_rounding_alone(name: str) -> None:
    precision = Precision.ROUNDED_INPUTS
    tolerance = COMPARED[name].tolerances[precision]
    slack = tolerance.absolute + tolerance.relative * EXPECTED[name]
    worse = -1 if COMPARED[name].more_is_better else 1
    assert is_no_worse({**EXPECTED, name: EXPECTED[name] - worse * 10 * slack}, EXPECTED, precision)
    assert is_no_worse({**EXPECTED, name: EXPECTED[name] + worse * 0.9 * slack}, EXPECTED, precision)
    assert not is_no_worse({**EXPECTED, name: EXPECTED[name] + worse * 1.1 * slack}, EXPECTED, precision)
    assert not is_no_worse({**EXPECTED, name: math.nan}, EXPECTED, precision)


def test_without_base_logits_the_metrics_that_need_none_decide() -> None:
    alone = {name: 0.1 for name, metric in COMPARED.items() if not metric.compares}
    assert is_reproduced(alone, EXPECTED, Precision.FLOAT32)
    for name in alone:
        assert not is_reproduced({**alone, name: 0.2}, EXPECTED, Precision.FLOAT32)
        assert not is_reproduced(
            {key: alone[key] for key in alone if key != name}, EXPECTED, Precision.FLOAT32
        )


def test_a_pass_that_did_not_measure_everything_is_not_reproduced() -> None:
    assert not is_reproduced(EXPECTED, {}, Precision.HALF)
