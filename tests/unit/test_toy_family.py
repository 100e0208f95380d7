"""The worked example of a family is a family: transformers builds a model with just these layers."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Starcoder2Config

from quantize_lib.architecture import families
from quantize_lib.architecture.family_table import FAMILIES
from quantize_lib.architecture.layers import find_layers
from quantize_lib.architecture.tensors import TensorInfo
from tests.support.families import HEADS, HIDDEN, LAYERS, MLP, VOCABULARY
from tests.toys.family import FAMILY, MODEL_TYPE


def test_a_line_in_the_table_is_all_that_a_new_family_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "FAMILIES", {**FAMILIES, MODEL_TYPE: FAMILY})
    config = Starcoder2Config(
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        vocab_size=VOCABULARY,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tensors = {
        name: TensorInfo(name=name, dtype="BF16", shape=tuple(value.shape), file="model.safetensors")
        for name, value in model.state_dict().items()
    }
    found = find_layers(config.to_dict(), tensors)
    built = [
        {"name": name, "in_features": module.in_features, "out_features": module.out_features}
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(FAMILY.blocks)
    ]
    assert [asdict(layer) for layer in found] == built
