"""The bitsandbytes method and its format: what it refuses and what its config says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.errors import EngineError
from quantize_lib.formats import get_format
from quantize_lib.methods import Settings
from tests.support.rounding import checkpoint_context, make_block


def _block(weight: Tensor, *, bits: int, dtype: torch.dtype = torch.bfloat16) -> BlockInput:
    linear = LinearInput(name="fc", weight=weight, bias=None, statistics=None, bits=bits, group_size=-1)
    return BlockInput(index=0, linears={"fc": linear}, params={}, folds=(), dtype=dtype)


def _config(
    settings: Settings, *, kept: tuple[str, ...] = (), outside: tuple[str, ...] = ()
) -> dict[str, Any]:
    quantized = {"model.layers.0.mlp.up_proj": (settings.bits, -1)}
    context = checkpoint_context(settings, quantized, group_size=-1, kept=kept, outside=outside)
    return get_format("bitsandbytes").quantization_config(context)


def test_a_layer_with_other_bits_than_the_cell_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="fc asks for 8 bits in a bitsandbytes cell of 4 bits"):
        make_block(_block(torch.randn(8, 64), bits=8), Settings(method="bitsandbytes", bits=4))


def test_a_weight_beyond_float16_is_refused_in_8_bits() -> None:
    weight = torch.randn(8, 64)
    weight[3, 5] = 1e6
    with pytest.raises(EngineError, match="fc has weights beyond 65504"):
        make_block(_block(weight, bits=8), Settings(method="bitsandbytes", bits=8))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_of_zeros_stays_zero(bits: int) -> None:
    weight = torch.randn(8, 64)
    weight[2] = 0
    settings = Settings(method="bitsandbytes", bits=bits)
    output = make_block(_block(weight, bits=bits), settings)
    assert torch.equal(output.weights["fc"][2], torch.zeros(64))
    assert bool(torch.isfinite(output.weights["fc"]).all())


def test_skipped_modules_are_the_full_names_and_never_none() -> None:
    settings = Settings(method="bitsandbytes", bits=8)
    kept = ("model.layers.0.mlp.down_proj",)
    config = _config(settings, kept=kept, outside=("lm_head",))
    assert config["llm_int8_skip_modules"] == ["model.layers.0.mlp.down_proj", "lm_head"]
    assert _config(settings)["llm_int8_skip_modules"] == []


def test_the_4_bit_config_says_type_double_quantization_and_compute_dtype() -> None:
    settings = Settings(method="bitsandbytes", bits=4, own={"quant_type": "fp4", "double_quant": False})
    config = _config(settings)
    assert config["quant_method"] == "bitsandbytes"
    assert config["load_in_4bit"] is True
    assert config["load_in_8bit"] is False
    assert config["bnb_4bit_quant_type"] == "fp4"
    assert config["bnb_4bit_use_double_quant"] is False
    assert config["bnb_4bit_compute_dtype"] == "bfloat16"
