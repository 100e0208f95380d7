"""The GPTQ method and its format on one block: accuracy, tensors, edge cases, words for the loaders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput, Statistics
from quantize_lib.engine.methods.hessian import factorize
from quantize_lib.engine.methods.scales import search_scales
from quantize_lib.errors import EngineError
from quantize_lib.formats import CheckpointContext, get_format
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Override, Settings, settings_of
from tests.support.rounding import PackedBlock, checkpoint_context, make_block


def _inputs(width: int = 64, tokens: int = 512) -> Tensor:
    """Correlated inputs with a few loud channels, as a language model has them."""
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(tokens, width, generator=generator) @ torch.randn(width, width, generator=generator)
    mixed[:, :: width // 4] *= 10
    return mixed


def _statistics(x: Tensor) -> Statistics:
    return Statistics(x.T @ x / len(x), x.abs().mean(0), len(x))


def _linear(
    name: str, statistics: Statistics | None, outputs: int = 32, width: int = 64, **changes: Any
) -> LinearInput:
    generator = torch.Generator().manual_seed(sum(name.encode()))
    weight = torch.randn(outputs, width, generator=generator)
    return LinearInput(
        **{
            "name": name,
            "weight": weight,
            "bias": None,
            "statistics": statistics,
            "bits": 4,
            "group_size": 32,
            **changes,
        }
    )


def _block(*linears: LinearInput) -> BlockInput:
    return BlockInput(
        index=3,
        linears={linear.name: linear for linear in linears},
        params={},
        folds=(),
        dtype=torch.bfloat16,
    )


def _settings(bits: int = 4, **values: Any) -> Settings:
    return settings_of("gptq", bits, {"group_size": 32, **values})


def _quantize(*linears: LinearInput, **settings: Any) -> PackedBlock:
    return make_block(_block(*linears), _settings(**settings))


def _output_error(linear: LinearInput, weight: Tensor) -> float:
    assert linear.statistics is not None
    hessian = linear.statistics.hessian.double()
    difference = (weight - linear.weight).double()
    power = ((linear.weight.double() @ hessian) * linear.weight).sum()
    return float(((difference @ hessian) * difference).sum() / power)


def _unpack(words: Tensor, bits: int) -> Tensor:
    """Codes down each column of (words, columns), bit by bit in plain integers."""
    columns = []
    for column in words.T.tolist():
        stream = sum((word & 0xFFFFFFFF) << 32 * place for place, word in enumerate(column))
        count = len(column) * 32 // bits
        columns.append([stream >> bits * place & (1 << bits) - 1 for place in range(count)])
    return torch.tensor(columns).T


def _read(tensors: Mapping[str, Tensor], name: str, bits: int) -> Tensor:
    """The dequantized weight (out, in) that a layer's packed tensors mean."""
    codes = _unpack(tensors[f"{name}.qweight"], bits)
    zeros = _unpack(tensors[f"{name}.qzeros"].T, bits).T + 1
    group = tensors[f"{name}.g_idx"].long()
    return ((codes - zeros[group]) * tensors[f"{name}.scales"].float()[group]).T


@pytest.mark.parametrize("group_size", [16, 64, -1])
@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packed_tensors_mean_exactly_the_dequantized_weights(
    bits: int, sym: bool, desc_act: bool, group_size: int
) -> None:
    statistics = _statistics(_inputs(128))
    pair = [_linear(name, statistics, width=128, bits=bits, group_size=group_size) for name in ("a", "b")]
    output = _quantize(*pair, bits=bits, sym=sym, desc_act=desc_act, group_size=group_size)
    for linear in pair:
        assert torch.equal(_read(output.tensors, linear.name, bits), output.weights[linear.name])
        zeros = _unpack(output.tensors[f"{linear.name}.qzeros"].T, bits) + 1
        assert int(zeros.max()) <= 2**bits - 1
        if sym:
            assert bool((zeros == 2 ** (bits - 1)).all())


def test_groups_are_contiguous_unless_desc_act_asks_for_the_order_of_the_diagonal() -> None:
    linear = _linear("a", _statistics(_inputs()))
    assert linear.statistics is not None
    plain = _quantize(linear).tensors["a.g_idx"]
    ordered = _quantize(linear, desc_act=True).tensors["a.g_idx"]
    assert torch.equal(plain, torch.arange(64, dtype=torch.int32) // 32)
    loudest = linear.statistics.hessian.diagonal().argsort(descending=True)
    assert torch.equal(ordered[loudest], torch.arange(64, dtype=torch.int32) // 32)


@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_output_error_is_far_below_that_of_rounding_to_nearest(bits: int, sym: bool, desc_act: bool) -> None:
    linear = _linear("a", _statistics(_inputs()), bits=bits)
    output = _quantize(linear, bits=bits, sym=sym, desc_act=desc_act)
    groups, grid = linear.weight.view(32, 2, 32), Grid(symmetric=sym, lowest_zero=1)
    scales, zeros = search_scales(groups, torch.ones(2, 32), bits=bits, grid=grid)
    codes = (groups / scales[..., None]).round() + zeros[..., None]
    nearest = ((codes.clamp(0, 2**bits - 1) - zeros[..., None]) * scales[..., None]).flatten(1)
    assert _output_error(linear, output.weights["a"]) < 0.5 * _output_error(linear, nearest)


def test_more_bits_smaller_groups_and_zero_points_each_lower_the_error() -> None:
    linear = _linear("a", _statistics(_inputs()))
    errors = [_quantize(replace(linear, bits=bits), bits=bits).rounded.errors["a"] for bits in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert _quantize(replace(linear, group_size=16)).rounded.errors["a"] < errors[2]
    shifted = replace(linear, weight=linear.weight + 2)
    assert _quantize(shifted, sym=False).rounded.errors["a"] < _quantize(shifted).rounded.errors["a"]


@pytest.mark.parametrize("dead", [0, 7])
def test_reported_error_is_the_output_error(dead: int) -> None:
    x = _inputs()
    x[:, :dead] = 0
    linear = _linear("a", _statistics(x), bits=3)
    output = _quantize(linear, bits=3)
    assert output.rounded.errors["a"] == pytest.approx(_output_error(linear, output.weights["a"]), rel=1e-2)


def test_layers_that_share_an_input_get_what_each_would_get_alone() -> None:
    statistics = _statistics(_inputs())
    pair = [_linear("q", statistics), _linear("k", statistics, outputs=64)]
    together = _quantize(*pair)
    assert list(together.weights) == ["q", "k"]
    for linear in pair:
        alone = _quantize(replace(linear, statistics=_statistics(_inputs())))
        torch.testing.assert_close(together.weights[linear.name], alone.weights[linear.name])


def test_layers_of_other_bits_and_group_size_may_share_a_block() -> None:
    statistics = _statistics(_inputs())
    output = _quantize(_linear("a", statistics), _linear("b", statistics, bits=8, group_size=16))
    assert output.tensors["a.qweight"].shape == (8, 32)
    assert output.tensors["b.qweight"].shape == (16, 32)
    assert output.tensors["b.scales"].shape == (4, 32)
    assert output.rounded.errors["b"] < output.rounded.errors["a"] / 50


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        _quantize(_linear("a", _statistics(_inputs())))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_nothing_that_was_given_is_changed() -> None:
    linear = _linear("a", _statistics(_inputs()))
    assert linear.statistics is not None
    weight, hessian = linear.weight.clone(), linear.statistics.hessian.clone()
    first = _quantize(linear)
    assert torch.equal(linear.weight, weight)
    assert torch.equal(linear.statistics.hessian, hessian)
    assert torch.equal(_quantize(linear).tensors["a.qweight"], first.tensors["a.qweight"])


def test_scales_are_exact_in_bfloat16_too() -> None:
    scales = _quantize(_linear("a", _statistics(_inputs()))).tensors["a.scales"]
    assert scales.dtype == torch.float16
    assert torch.equal(scales.to(torch.bfloat16).to(torch.float16), scales)


def test_the_bias_is_written_in_the_dtype_of_the_disk() -> None:
    bias = torch.randn(32, generator=torch.Generator().manual_seed(0))
    output = _quantize(_linear("a", _statistics(_inputs()), bias=bias))
    assert torch.equal(output.tensors["a.bias"], bias.bfloat16())


def test_channels_that_calibration_never_reached_are_rounded_to_nearest_and_noted() -> None:
    x = _inputs()
    x[:, 5] = 0
    linear = _linear("a", _statistics(x), bits=8)
    output = _quantize(linear, bits=8)
    step = output.tensors["a.scales"].float().abs()[0]
    assert bool(((output.weights["a"] - linear.weight)[:, 5].abs() < 0.6 * step).all())
    assert output.rounded.notes == ("block 3, a: calibration never reached 1 inputs",)


def test_a_layer_that_calibration_never_reached_is_still_rounded() -> None:
    linear = _linear("a", _statistics(torch.zeros(4, 64)), bits=8)
    output = _quantize(linear, bits=8)
    assert float((output.weights["a"] - linear.weight).abs().max()) < 0.03
    assert output.rounded.errors["a"] == 0


def test_damping_grows_until_the_factorization_succeeds_and_is_noted() -> None:
    statistics = _statistics(_inputs())
    # Far from positive semidefinite: more than the first damping can make good.
    statistics.hessian.diagonal().mul_(0.5)
    output = _quantize(_linear("a", statistics))
    assert output.rounded.notes == ("block 3, a: damping had to grow to 1.5",)
    assert bool(torch.isfinite(output.weights["a"]).all())


def test_how_loud_an_input_is_does_not_change_how_much_its_correlations_count() -> None:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4096, 1, generator=generator)
    x = torch.randn(4096, 16, generator=generator) + shared
    # From the loudest to the quietest, so that both are rounded in the same order.
    x /= x.square().mean(0).sqrt() * torch.linspace(1, 2, 16)
    louder = torch.logspace(0, -0.5, 16)
    plain, scaled = factorize(_statistics(x)), factorize(_statistics(x * louder))
    assert torch.equal(plain.order, torch.arange(16))
    assert torch.equal(scaled.order, torch.arange(16))
    torch.testing.assert_close(scaled.upper * louder, plain.upper, rtol=0.02, atol=0.02)


def test_a_correlation_counts_for_less_than_the_calibration_showed() -> None:
    hessian = torch.tensor([[4.0, 1.0], [1.0, 1.0]])
    upper = factorize(Statistics(hessian, torch.ones(2), 1)).upper
    damped = torch.linalg.inv(upper.T @ upper)
    correlation = damped[0, 1] / (damped[0, 0] * damped[1, 1]).sqrt()
    assert float(correlation) == pytest.approx(0.5 / 1.15, rel=0.005)


def test_a_hessian_beyond_repair_is_an_error_that_names_the_layer() -> None:
    hessian = torch.full((64, 64), -5.0) + torch.eye(64) * 6
    with pytest.raises(EngineError, match=r"a: the Hessian cannot be factorized even with damping 1.5 of"):
        _quantize(_linear("a", Statistics(hessian, torch.ones(64), 1)))


def test_inputs_that_are_not_finite_are_an_error() -> None:
    x = _inputs()
    x[0, 0] = torch.inf
    with pytest.raises(EngineError, match="a: the calibration inputs hold values that are not finite"):
        _quantize(_linear("a", _statistics(x)))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e6])
def test_weights_that_cannot_be_stored_are_an_error(value: float) -> None:
    linear = _linear("a", _statistics(_inputs()))
    linear.weight[1, 2] = value
    with pytest.raises(EngineError, match="a has weights that are not finite or too large"):
        _quantize(linear)


def test_a_layer_without_statistics_is_an_error() -> None:
    with pytest.raises(EngineError, match="a has no statistics, which GPTQ needs"):
        _quantize(_linear("a", None))


def test_a_group_size_that_does_not_divide_the_inputs_is_an_error() -> None:
    with pytest.raises(EngineError, match="a has 64 inputs, no multiple of 48"):
        _quantize(_linear("a", _statistics(_inputs()), group_size=48))


@pytest.mark.parametrize("sym", [True, False])
def test_zero_weights_stay_zero(sym: bool) -> None:
    linear = _linear("a", _statistics(_inputs()), weight=torch.zeros(32, 64))
    output = _quantize(linear, sym=sym)
    assert bool((output.weights["a"] == 0).all())
    assert bool(torch.isfinite(output.tensors["a.scales"]).all())


def _context(settings: Settings | None = None, kept: tuple[str, ...] = ()) -> CheckpointContext:
    layers = [f"model.layers.{index}.{name}" for index in (0, 1) for name in ("mlp.up_proj", "mlp.down_proj")]
    return checkpoint_context(
        settings or _settings(),
        {name: (4, 32) for name in layers if name not in kept},
        group_size=32,
        kept=kept,
        outside=("lm_head",),
    )


def _config(context: CheckpointContext) -> dict[str, Any]:
    return get_format("gptq").quantization_config(context)


def test_the_config_says_what_loaders_need_and_no_more() -> None:
    config = _config(_context())
    assert config == {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 32,
        "desc_act": False,
        "sym": True,
        "checkpoint_format": "gptq",
        "lm_head": False,
        "damp_percent": 0.15,
        "true_sequential": False,
        "act_group_aware": False,
        "block_name_to_quantize": "model.layers",
        "meta": {"quantizer": [config["meta"]["quantizer"][0]]},
    }
    assert config["meta"]["quantizer"][0].startswith("model-quantizer:")


def test_the_config_names_the_kernel_where_the_automatic_one_ignores_zero_points() -> None:
    context = replace(_context(_settings(sym=False)), group_size=-1)
    assert _config(context)["backend"] == "gptq_torch"
    assert "backend" not in _config(replace(context, group_size=32))


def test_the_config_names_the_kernel_where_the_automatic_one_takes_no_such_group() -> None:
    assert _config(replace(_context(_settings()), group_size=16))["backend"] == "gptq_torch"
    assert "backend" not in _config(_context(_settings()))
    assert "backend" not in _config(replace(_context(_settings(bits=8)), group_size=16))


def test_the_config_lists_what_is_quantized_where_something_is_kept() -> None:
    config = _config(_context(kept=("model.layers.0.mlp.up_proj",)))
    assert config["modules_in_block_to_quantize"] == [
        ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]
    ]
    assert config["dynamic"] == {r"-:^model\.layers\.(?:0)\.mlp\.up_proj$": {}}


def test_the_first_override_that_matches_stands_in_dynamic() -> None:
    overrides = (
        Override(modules="*.1.mlp.down_proj", bits=8),
        Override(modules="*.down_proj", bits=3, group_size=16),
    )
    config = _config(_context(_settings(overrides=overrides)))
    found = {}
    for name in _context().quantized:
        for pattern, values in config["dynamic"].items():
            if re.match(pattern.removeprefix("+:"), name):
                found[name] = values
    assert found == {
        "model.layers.0.mlp.down_proj": {"bits": 3, "group_size": 16},
        "model.layers.1.mlp.down_proj": {"bits": 8},
    }


def test_the_factor_of_a_scaled_input_is_made_of_the_factor_there_is() -> None:
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(200, 16, generator=generator) @ torch.randn(16, 16, generator=generator)
    scale = torch.rand(16, generator=generator) + 0.5
    factor = factorize(Statistics(x.T @ x / 200, x.abs().mean(0), 200))
    damped = x.T @ x / 200 + torch.diag(factor.added)
    scaled = factor.of_scaled(scale)
    inverse = torch.linalg.inv(damped / scale / scale[:, None])[factor.order][:, factor.order]
    torch.testing.assert_close(scaled.upper.T @ scaled.upper, inverse, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scaled.importance, damped.diagonal() / scale.square())
