"""The AWQ method and its formats on one block: folds, errors, tensors, config."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, Fold, LinearInput, Statistics
from quantize_lib.errors import EngineError
from quantize_lib.methods import Settings
from tests.support.rounding import PackedBlock, checkpoint_context, format_for, make_block

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
) -> BlockInput:
    return BlockInput(
        index=0,
        linears={linear.name: linear for linear in linears},
        params=params or {},
        folds=folds,
        dtype=torch.bfloat16,
    )


def _output_error(x: Tensor, weight: Tensor, norm: Tensor, output: PackedBlock) -> float:
    """Mean square of what the layer's output lost, through the norm's weight."""
    folded = output.rounded.params.get("norm.weight", norm).float()
    return float((x * norm @ weight.T - x * folded @ output.weights["fc"].T).square().mean())


def test_a_loud_channel_is_enlarged_and_the_norm_undoes_it() -> None:
    x, norm = _inputs(32, loud=5), torch.full((32,), 0.5)
    linear = _linear("fc", 64, _statistics(x * norm))
    folded = make_block(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    plain = make_block(_block(linear, params={"norm.weight": norm}), _SETTINGS)
    assert folded.rounded.params["norm.weight"].dtype == torch.bfloat16
    assert float(folded.rounded.params["norm.weight"][5]) < 0.5 * float(
        folded.rounded.params["norm.weight"].float().median()
    )
    assert plain.rounded.params == {}
    assert _output_error(x, linear.weight, norm, folded) < 0.8 * _output_error(x, linear.weight, norm, plain)
    assert folded.rounded.errors["fc"] < plain.rounded.errors["fc"] < 0.05


def test_the_reported_error_is_the_relative_output_error() -> None:
    x, norm = _inputs(32, loud=5), torch.ones(32)
    linear = _linear("fc", 64, _statistics(x))
    output = make_block(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    expected = _output_error(x, linear.weight, norm, output) / float((x @ linear.weight.T).square().mean())
    assert output.rounded.errors["fc"] == pytest.approx(expected, rel=1e-3)


def test_scales_of_grouped_query_attention_are_undone_in_the_values() -> None:
    """Two query heads of size 8 read one value head: channels 0..7 and 8..15 share the source's rows."""
    values = torch.randn(512, 16, generator=torch.Generator().manual_seed(2))
    values[:, 3] *= 40
    x = values.reshape(-1, 2, 1, 8).expand(-1, 2, 2, 8).flatten(1)
    source = _linear("v_proj", 16, _statistics(_inputs(32)), bias=True)
    target = _linear("o_proj", 16, _statistics(x))
    fold = Fold(source="v_proj", kind="linear", targets=("o_proj",), repeat=2, head_dim=8)
    output = make_block(_block(source, target, folds=(fold,)), _SETTINGS)
    assert source.bias is not None
    divisor = source.bias / output.rounded.params["v_proj.bias"].float()
    assert divisor[3] == divisor.max() > 1.5
    assert torch.equal(output.rounded.params["v_proj.bias"], output.tensors["v_proj.bias"])
    scale = divisor.reshape(2, 1, 8).expand(2, 2, 8).flatten()
    assert float((output.weights["o_proj"] / scale - target.weight).square().mean()) < 0.05
    assert float((output.weights["v_proj"] * divisor[:, None] - source.weight).square().mean()) < 0.05


def test_the_rows_of_a_fused_source_that_do_not_feed_the_target_stay() -> None:
    x = _inputs(16, loud=3)
    source = _linear("gate_up", 32, _statistics(_inputs(32)), bias=True)
    target = _linear("down", 8, _statistics(x), width=16)
    fold = Fold(source="gate_up", kind="linear", targets=("down",), rows=(16, 32))
    output = make_block(_block(source, target, folds=(fold,)), _SETTINGS)
    assert source.bias is not None
    bias = output.rounded.params["gate_up.bias"]
    assert torch.equal(bias[:16], source.bias[:16].to(torch.bfloat16))
    assert not torch.equal(bias[16:], source.bias[16:].to(torch.bfloat16))


def test_the_block_that_was_given_is_not_changed() -> None:
    x, norm = _inputs(32, loud=5), torch.ones(32)
    linear = _linear("fc", 64, _statistics(x))
    before = [linear.weight.clone(), norm.clone()]
    make_block(_block(linear, params={"norm.weight": norm}, folds=(_FOLD,)), _SETTINGS)
    assert torch.equal(linear.weight, before[0])
    assert torch.equal(norm, before[1])


def test_the_same_block_gives_the_same_bytes() -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32, loud=5)))
    block = _block(linear, params={"norm.weight": torch.ones(32)}, folds=(_FOLD,))
    first, second = make_block(block, _SETTINGS), make_block(block, _SETTINGS)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())


@pytest.mark.parametrize(
    ("linear", "message"),
    [
        (_linear("fc", 64, None), "fc has no statistics"),
        (_linear("fc", 64, _statistics(_inputs(32) / 0)), "the statistics of fc are not finite"),
        (_linear("fc", 64, _statistics(_inputs(24)), width=24), "fc has 24 inputs, no multiple of 16"),
    ],
    ids=["no statistics", "statistics", "inputs"],
)
def test_what_cannot_be_rounded_is_refused_by_name(linear: LinearInput, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        make_block(_block(linear), _SETTINGS)


@pytest.mark.parametrize("value", [1e7, float("inf"), float("nan")])
def test_weights_that_float16_scales_cannot_reach_are_refused_by_name(value: float) -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32)))
    linear.weight[3, 4] = value
    with pytest.raises(
        EngineError, match="fc has weights that are not finite or too large for float16 scales"
    ):
        make_block(_block(linear), _SETTINGS)


def _config(
    *,
    settings: Settings = _SETTINGS,
    group_size: int = 64,
    kept: tuple[str, ...] = (),
    outside: tuple[str, ...] = (),
    model_type: str = "llama",
) -> dict[str, Any]:
    context = checkpoint_context(
        settings,
        {"model.layers.0.fc": (4, group_size)},
        group_size=group_size,
        kept=kept,
        outside=outside,
        model_type=model_type,
    )
    return format_for(settings, model_type).quantization_config(context)


def test_the_config_says_gemm_with_zero_points_and_what_was_kept() -> None:
    assert _config(kept=("model.layers.0.x",), outside=("lm_head",)) == {
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
    assert _config()["modules_to_not_convert"] is None


def test_zero_points_reach_from_nothing_to_the_largest_code_in_awqs_format() -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32)))
    linear.weight[:32] = linear.weight[:32].abs()
    linear.weight[32:] = -linear.weight[32:].abs()
    codes = make_block(_block(linear), _SETTINGS).rounded.layers["fc"].codes
    assert codes is not None
    assert (int(codes.zeros.min()), int(codes.zeros.max())) == (0, 15)


def test_a_conv1d_layer_is_packed_as_gptq_with_zero_points_that_format_can_hold() -> None:
    linear = _linear("fc", 64, _statistics(_inputs(32)))
    linear.weight[:, :16] = linear.weight[:, :16].abs()
    output = make_block(_block(linear), _SETTINGS, model_type="gpt2")
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
    config = _config(model_type="gpt2")
    assert (config["quant_method"], config["bits"], config["group_size"]) == ("gptq", 4, 64)
    assert (config["sym"], config["desc_act"]) == (False, False)


def test_group_size_16_names_the_kernel_that_takes_it() -> None:
    assert _config(group_size=16)["backend"] == "torch_awq"
