"""bitsandbytes cells against what transformers with bitsandbytes itself saves, tensor for tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.linears import find_linears
from quantize_lib.formats import get_format
from quantize_lib.methods import Settings
from quantize_lib.methods.bitsandbytes import QUANT_TYPE
from tests.support.families import save_family
from tests.support.rounding import PackedBlock, checkpoint_context, make_block

_BLOCKS = {"llama": "model.layers", "gpt2": "transformer.h"}
_CASES = [
    ("llama", torch.bfloat16, Settings(method="bitsandbytes", bits=4)),
    (
        "llama",
        torch.float16,
        Settings(method="bitsandbytes", bits=4, own={"quant_type": "fp4", "double_quant": False}),
    ),
    ("llama", torch.bfloat16, Settings(method="bitsandbytes", bits=8)),
    ("gpt2", torch.float32, Settings(method="bitsandbytes", bits=4)),
    ("gpt2", torch.float32, Settings(method="bitsandbytes", bits=8)),
]


def _load(folder: Path, **kwargs: Any) -> PreTrainedModel:
    model: PreTrainedModel = cast(Any, AutoModelForCausalLM).from_pretrained(folder, **kwargs).eval()
    return model


def _quantize(
    model: PreTrainedModel, blocks: str, settings: Settings, dtype: torch.dtype
) -> list[PackedBlock]:
    outputs = []
    for index, block in enumerate(cast(nn.ModuleList, model.get_submodule(blocks))):
        linears = {}
        for name, linear in find_linears(block).items():
            weight = linear.view.detach().float()
            bias = linear.bias_view
            linears[name] = LinearInput(
                name=name,
                weight=weight,
                bias=None if bias is None else bias.detach().float(),
                statistics=None,
                bits=settings.bits,
                group_size=-1,
            )
        block_input = BlockInput(index=index, linears=linears, params={}, folds=(), dtype=dtype)
        outputs.append(make_block(block_input, settings, model_type=model.config.model_type))
    return outputs


@pytest.fixture(params=_CASES, ids=lambda case: f"{case[0]}-{case[2].bits}-{case[2][QUANT_TYPE]}")
def case(request: pytest.FixtureRequest) -> tuple[str, torch.dtype, Settings]:
    return cast(tuple[str, torch.dtype, Settings], request.param)


@pytest.fixture
def ours_and_theirs(
    case: tuple[str, torch.dtype, Settings], tmp_path: Path
) -> tuple[Path, Path, list[PackedBlock], str]:
    """Two checkpoint folders of one model: this project's tensors, and those that transformers saves."""
    family, dtype, settings = case
    blocks = _BLOCKS[family]
    base = save_family(family, tmp_path / "base", dtype=dtype)
    model = _load(base, dtype=dtype)
    outputs = _quantize(model, blocks, settings, dtype)
    quantized = tuple(f"{blocks}.{name}" for name in find_linears(model.get_submodule(blocks)))
    context = checkpoint_context(
        settings,
        dict.fromkeys(quantized, (settings.bits, -1)),
        group_size=-1,
        blocks=blocks,
        outside=("lm_head",),
        dtype=dtype,
        model_type=family,
    )
    config = get_format("bitsandbytes").quantization_config(context)
    state = load_file(base / "model.safetensors")
    for name in quantized:
        del state[f"{name}.weight"]
    for index, output in enumerate(outputs):
        state.update({f"{blocks}.{index}.{name}": value.clone() for name, value in output.tensors.items()})
    ours = tmp_path / "ours"
    ours.mkdir()
    save_file(state, ours / "model.safetensors", metadata={"format": "pt"})
    base_config = json.loads((base / "config.json").read_text())
    (ours / "config.json").write_text(json.dumps({**base_config, "quantization_config": config}))
    theirs = tmp_path / "theirs"
    _load(base, dtype=dtype, quantization_config=cast(Any, BitsAndBytesConfig)(**config)).save_pretrained(
        theirs
    )
    return ours, theirs, outputs, blocks


def test_every_tensor_and_the_config_equal_what_transformers_saves(
    ours_and_theirs: tuple[Path, Path, list[PackedBlock], str],
) -> None:
    ours, theirs, _, _ = ours_and_theirs
    mine, other = load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors")
    assert mine.keys() == other.keys()
    for name, value in other.items():
        assert mine[name].dtype == value.dtype, name
        assert torch.equal(mine[name], value), name
    configs = [json.loads((folder / "config.json").read_text()) for folder in (ours, theirs)]
    assert configs[0]["quantization_config"] == configs[1]["quantization_config"]


def test_the_reloaded_layers_mean_what_the_method_said(
    ours_and_theirs: tuple[Path, Path, list[PackedBlock], str],
) -> None:
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    ours, _, outputs, blocks = ours_and_theirs
    model = _load(ours, dtype=torch.float32)
    seen = 0
    for index, output in enumerate(outputs):
        for name, weight in output.weights.items():
            module = cast(Any, model.get_submodule(f"{blocks}.{index}.{name}"))
            meant = dequantize_bnb_weight(module.weight, getattr(module, "state", None))
            assert torch.equal(meant.float(), weight)
            if name in output.rounded.modules:
                x = torch.randn(2, 5, weight.shape[1]) * 3
                x[0, 0, 0] = 20.0
                with torch.inference_mode():
                    assert torch.equal(output.rounded.modules[name](x), module(x))
            seen += 1
    assert seen == sum(len(output.weights) for output in outputs) > 0
    ids = torch.arange(24).reshape(2, 12)
    assert bool(torch.isfinite(model(ids).logits).all())
