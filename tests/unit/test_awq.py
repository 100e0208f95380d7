"""The AWQ method on one block: folds, errors, config."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, BlockOutput, CellContext, Fold, LinearInput, Statistics
from quantize_lib.engine.methods.awq import Awq
from quantize_lib.errors import EngineError
from quantize_lib.methods.settings import Settings

_SETTINGS = Settings(method="awq", bits=4, group_size=16)
_FOLD = Fold(source="norm", kind="norm", targets=("fc",))


def _inputs(width: int, *, loud: int | None = None) -> Tensor:
    x = torch.randn(512, width, generator=torch.Generator().manual_seed(1))
    if loud is not None:
        x[:, loud] *= 30
    return x


def _statistics(x: Tensor) -> Statistics:
    return Statistics(x.T @ x / len(x), x.abs().mean(0), len(x))


def _linear(
    name: str,
    out_features: int,
    statistics: Statistics | None,
    *,
    width: int = 32,
    bits: int = 4,
    group_size: int = 16,
    bias: bool = False,
) -> LinearInput:
    generator = torch.Generator().manual_seed(len(name))
    return LinearInput(
        name=name,
        weight=torch.randn(out_features, width, generator=generator),
        bias=torch.randn(out_features, generator=generator) if bias else None,
        statistics=statistics,
        bits=bits,
        group_size=group_size,
    )


def _block(
    *linears: LinearInput,
    params: dict[str, Tensor] | None = None,
    folds: tuple[Fold, ...] = (),
    model_type: str = "llama",
) -> BlockInput:
    return BlockInput(
        index=0,
        linears={linear.name: linear for linear in linears},
        params=params or {},
        folds=folds,
        dtype=torch.bfloat16,
        model_type=model_type,
    )


def _output_error(x: Tensor, weight: Tensor, norm: Tensor, output: BlockOutput) -> float:
    """Mean square of what the layer's output lost, through the norm's weight."""
    folded = output.params.get("norm.weight", norm).float()
    return float((x * norm @ weight.T - x * folded @ output.weights["fc"].T).square().mean())


def test_a_loud_channel_is_enlarged_and_the_norm_undoes_it() -> None:
    x, norm = _inputs(32, loud=5), torch.full((32,), 0.5)
    linear = _linear("fc", 64, _statistics(x * norm))
    folded = Awq().quantize(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    plain = Awq().quantize(_block(linear, params={"norm.weight": norm}), _SETTINGS)
    assert folded.params["norm.weight"].dtype == torch.bfloat16
    assert float(folded.params["norm.weight"][5]) < 0.5 * float(folded.params["norm.weight"].float().median())
    assert plain.params == {}
    assert _output_error(x, linear.weight, norm, folded) < 0.8 * _output_error(x, linear.weight, norm, plain)
    assert folded.errors["fc"] < plain.errors["fc"] < 0.05


def test_the_reported_error_is_the_relative_output_error() -> None:
    x, norm = _inputs(32, loud=5), torch.ones(32)
    linear = _linear("fc", 64, _statistics(x))
    output = Awq().quantize(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    expected = _output_error(x, linear.weight, norm, output) / float((x @ linear.weight.T).square().mean())
    assert output.errors["fc"] == pytest.approx(expected, rel=1e-3)


def test_scales_of_grouped_query_attention_are_undone_in_the_values() -> None:
    """Two query heads of size 8 read one value head: channels 0..7 and 8..15 share the source's rows."""
    values = torch.randn(512, 16, generator=torch.Generator().manual_seed(2))
    values[:, 3] *= 40
    x = values.reshape(-1, 2, 1, 8).expand(-1, 2, 2, 8).flatten(1)
    source = _linear("v_proj", 16, _statistics(_inputs(32)), bias=True)
    target = _linear("o_proj", 16, _statistics(x))
    fold = Fold(source="v_proj", kind="linear", targets=("o_proj",), repeat=2, head_dim=8)
    output = Awq().quantize(_block(source, target, folds=(fold,)), _SETTINGS)
    assert source.bias is not None
    divisor = source.bias / output.params["v_proj.bias"].float()
    assert divisor[3] == divisor.max() > 1.5
    assert torch.equal(output.params["v_proj.bias"], output.tensors["v_proj.bias"])
    scale = divisor.reshape(2, 1, 8).expand(2, 2, 8).flatten()
    assert float((output.weights["o_proj"] / scale - target.weight).square().mean()) < 0.05
    assert float((output.weights["v_proj"] * divisor[:, None] - source.weight).square().mean()) < 0.05


def test_the_rows_of_a_fused_source_that_do_not_feed_the_target_stay() -> None:
    x = _inputs(16, loud=3)
    source = _linear("gate_up", 32, _statistics(_inputs(32)), bias=True)
    target = _linear("down", 8, _statistics(x), width=16)
    fold = Fold(source="gate_up", kind="linear", targets=("down",), rows=(16, 32))
    output = Awq().quantize(_block(source, target, folds=(fold,)), _SETTINGS)
    assert source.bias is not None
    bias = output.params["gate_up.bias"]
    assert torch.equal(bias[:16], source.bias[:16].to(torch.bfloat16))
    assert not torch.equal(bias[16:], source.bias[16:].to(torch.bfloat16))


def test_the_block_that_was_given_is_not_changed() -> None:
    x, norm = _inputs(32, loud=5), torch.ones(32)
    linear = _linear("fc", 64, _statistics(x))
    before = [linear.weight.clone(), norm.clone()]
    Awq().quantize(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    assert torch.equal(linear.weight, before[0])
    assert torch.equal(norm, before[1])


def test_the_same_block_gives_the_same_bytes() -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32, loud=5)))
    block = _block(linear, params={"norm.weight": torch.ones(32)}, folds=(_FOLD,))
    first, second = Awq().quantize(block, _SETTINGS), Awq().quantize(block, _SETTINGS)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())


@pytest.mark.parametrize("kept", [False, True])
def test_families_with_scaled_activations_carry_scales_of_one(kept: bool) -> None:
    name = "mlp.dense_h_to_4h"
    linear = _linear(name, 64, _statistics(_inputs(32)))
    other = _linear("attention.dense", 32, _statistics(_inputs(32)))
    if kept:
        block = _block(other, params={f"{name}.weight": linear.weight}, model_type="gpt_neox")
    else:
        block = _block(other, linear, model_type="gpt_neox")
    scales = Awq().quantize(block, _SETTINGS).params["mlp.act.scales"]
    assert torch.equal(scales, torch.ones(64, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    ("linear", "message"),
    [
        (_linear("fc", 64, _statistics(_inputs(32)), bits=8), "fc asks for 8 bits; AWQ has 4"),
        (_linear("fc", 64, None), "fc has no statistics"),
        (_linear("fc", 64, _statistics(_inputs(32) / 0)), "the statistics of fc are not finite"),
        (_linear("fc", 12, _statistics(_inputs(32))), "fc has 12 outputs"),
        (_linear("fc", 64, _statistics(_inputs(24)), width=24), "fc has 24 inputs, no multiple of 16"),
        (
            _linear("fc", 64, _statistics(_inputs(32)), group_size=32),
            "asks for group size 32 in an AWQ cell of 16",
        ),
    ],
    ids=["bits", "no statistics", "statistics", "outputs", "inputs", "group size"],
)
def test_what_does_not_fit_the_format_is_refused_by_name(linear: LinearInput, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Awq().quantize(_block(linear), _SETTINGS)


@pytest.mark.parametrize("value", [1e7, float("inf"), float("nan")])
def test_weights_that_float16_scales_cannot_reach_are_refused_by_name(value: float) -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32)))
    linear.weight[3, 4] = value
    with pytest.raises(
        EngineError, match="fc has weights that are not finite or too large for float16 scales"
    ):
        Awq().quantize(_block(linear), _SETTINGS)


def _context(
    *, group_size: int = 64, kept: tuple[str, ...] = (), outside: tuple[str, ...] = ()
) -> CellContext:
    return CellContext(
        settings=_SETTINGS,
        group_size=group_size,
        model_type="llama",
        blocks="model.layers",
        quantized=("model.layers.0.fc",),
        kept=kept,
        outside=outside,
        dtype=torch.bfloat16,
    )


def test_the_config_says_gemm_with_zero_points_and_what_was_kept() -> None:
    config = Awq().quantization_config(_context(kept=("model.layers.0.x",), outside=("lm_head",)))
    assert config == {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 64,
        "zero_point": True,
        "sym": False,
        "desc_act": False,
        "version": "gemm",
        "format": "gemm",
        "modules_to_not_convert": ["model.layers.0.x", "lm_head"],
    }
    assert Awq().quantization_config(_context())["modules_to_not_convert"] is None


def test_a_conv1d_layer_is_packed_as_gptq_with_zero_points_that_format_can_hold() -> None:
    linear = replace(_linear("fc", 64, _statistics(_inputs(32))), conv1d=True)
    linear.weight[:, :16] = linear.weight[:, :16].abs()
    output = Awq().quantize(_block(linear), _SETTINGS)
    assert {name: tuple(value.shape) for name, value in output.tensors.items()} == {
        "fc.qweight": (4, 64),
        "fc.qzeros": (2, 8),
        "fc.scales": (2, 64),
        "fc.g_idx": (32,),
    }
    shifts = torch.arange(0, 32, 4)
    codes = (output.tensors["fc.qweight"][:, None] >> shifts[:, None] & 15).flatten(0, 1).T
    zeros = (output.tensors["fc.qzeros"][..., None] >> shifts & 15).flatten(1).T + 1
    scales = output.tensors["fc.scales"].T.float().repeat_interleave(16, dim=1)
    assert int(zeros.min()) == 1
    assert int(zeros.max()) <= 15
    assert torch.equal((codes - zeros.repeat_interleave(16, dim=1)) * scales, output.weights["fc"])


def test_a_conv1d_model_says_gptq_without_symmetry() -> None:
    config = Awq().quantization_config(replace(_context(), conv1d=True))
    assert (config["quant_method"], config["bits"], config["group_size"]) == ("gptq", 4, 64)
    assert (config["sym"], config["desc_act"]) == (False, False)


def test_group_size_16_names_the_kernel_that_takes_it() -> None:
    assert Awq().quantization_config(_context(group_size=16))["backend"] == "torch_awq"
