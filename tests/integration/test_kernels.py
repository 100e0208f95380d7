"""Every family × method: what plain transformers loads computes what was intended.

The intended model is the base with the dequantized weights put in. The default kernels of a CPU round on
the way (group scales to bfloat16), so each checkpoint is loaded twice by plain transformers: with the default
kernel, and with the library's own exact one, where the tolerance is such that a single wrong 4-bit code would
break it. The test shows that too: it flips one and looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from transformers import AutoModelForCausalLM, AwqConfig, GPTQConfig
from transformers.utils.quantization_config import AwqBackend

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.linears import find_linears
from quantize_lib.files import read_json
from quantize_lib.methods import GroupSize, Settings
from tests.support.families import CONFIGS, save_family
from tests.support.quantizing import GROUP_SIZE, difference, intended, quantize

DEFAULT_KERNEL = 4e-2
"""Largest difference of a logit, relative to the largest logit: kernels that round to bfloat16."""
EXACT: Mapping[str, float] = {"gptq": 1e-3, "awq": 3e-3, "bitsandbytes": 1e-5}
"""The same with exact kernels: float32 sums in another order; GPTQModel's keep biases in float16, and
its AWQ one dequantizes to float16."""


def flip_one_code(model: nn.Module, rounded: RoundedBlock, blocks: str) -> None:
    """Flip the highest bit of one code of the first block: the value moves by half the range of its group."""
    name, layer = next(iter(rounded.layers.items()))
    weight = layer.weight
    values = weight[0, :GROUP_SIZE].unique()
    half = 8 * (values[1:] - values[:-1]).min()
    target = find_linears(model.get_submodule(f"{blocks}.0"))[name].view
    with torch.no_grad():
        target[0, 0] += half if weight[0, 0] < 0 else -half


def load_exact(folder: Path, method: str) -> nn.Module:
    """As a user loads it who asks for the kernel that rounds least."""
    if method == "bitsandbytes":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for module in model.modules():
            # In training bitsandbytes dequantizes; only for inference a CPU repacks to bfloat16.
            if isinstance(module, Linear4bit):
                module.train()
        return cast(nn.Module, model)
    gptq = read_json(folder / "config.json")["quantization_config"]["quant_method"] == "gptq"
    kernel = GPTQConfig(bits=4, backend="gptq_torch") if gptq else AwqConfig(backend=AwqBackend.TORCH_AWQ)
    return cast(
        nn.Module,
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=kernel),
    )


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_four_bits_load_in_transformers_and_compute_what_was_intended(
    model_type: str, method: str, tmp_path: Path
) -> None:
    base = save_family(model_type, tmp_path / "base")
    group_size: GroupSize = "auto" if method == "bitsandbytes" else GROUP_SIZE
    settings = Settings(method=method, bits=4, group_size=group_size)
    recording, blocks = quantize(base, tmp_path / "cell", settings)
    expected = intended(base, recording.outputs, blocks)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "cell", dtype=torch.float32)
    assert difference(plain, expected) < DEFAULT_KERNEL
    loaded = load_exact(tmp_path / "cell", method)
    assert difference(loaded, expected) < EXACT[method]
    flip_one_code(expected, recording.outputs[0], blocks)
    assert difference(loaded, expected) > EXACT[method]


@pytest.mark.parametrize("model_type", CONFIGS)
def test_llm_int8_weights_load_in_transformers_as_they_were_intended(model_type: str, tmp_path: Path) -> None:
    base = save_family(model_type, tmp_path / "base")
    recording, blocks = quantize(base, tmp_path / "cell", Settings(method="bitsandbytes", bits=8))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "cell", dtype=torch.float32)
    for index, rounded in recording.outputs.items():
        block = loaded.get_submodule(f"{blocks}.{index}")
        for name, layer in rounded.layers.items():
            module: Any = block.get_submodule(name)
            assert module.weight.dtype == torch.int8
            found = module.weight.data.float() * module.weight.SCB.float()[:, None] / 127
            assert torch.allclose(found, layer.weight, rtol=0, atol=1e-6)
