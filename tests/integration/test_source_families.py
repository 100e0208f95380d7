"""The table of families against the real model classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from quantize_lib.architecture.families import is_tied
from quantize_lib.architecture.family import Rows
from quantize_lib.architecture.layers import expected_shapes
from quantize_lib.source import FAMILIES, inspect
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.families import CONFIGS, save_family


def facts_of(folder: Path) -> ModelFacts:
    (folder / "tokenizer.json").write_text("{}")
    return inspect(ModelSpec(id="./m", name="m", local=folder), token=None)


def test_every_family_of_the_table_is_tested_and_none_else() -> None:
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_layers_are_those_of_the_real_model_in_its_order(model_type: str, tmp_path: Path) -> None:
    facts = facts_of(save_family(model_type, tmp_path))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[model_type]())
    blocks = FAMILIES[model_type].blocks
    real = []
    for name, module in model.named_modules():
        if name.startswith(blocks + "."):
            if isinstance(module, nn.Linear):
                real.append((name, module.in_features, module.out_features))
            elif isinstance(module, Conv1D):
                real.append((name, module.nx, module.nf))
    assert [(layer.name, layer.in_features, layer.out_features) for layer in facts.layers] == real


SWITCHED: list[tuple[str, dict[str, Any]]] = [
    ("gemma2", {"attention_bias": True}),
    ("gpt_neox", {"attention_bias": False}),
    ("gpt2", {"n_positions": 96}),
    ("gpt2", {"add_cross_attention": True}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True}),
    ("opt", {"enable_bias": False}),
    ("opt", {"layer_norm_elementwise_affine": False}),
    ("opt", {"do_layer_norm_before": False}),
    ("opt", {"_remove_final_layer_norm": True}),
    ("opt", {"word_embed_proj_dim": 64, "max_position_embeddings": 100}),
    ("qwen3", {"attention_bias": True}),
]
"""Keys of the config that decide which parameters there are."""


@pytest.mark.parametrize(
    ("model_type", "changes"), [*((model_type, {}) for model_type in sorted(FAMILIES)), *SWITCHED]
)
def test_the_tensors_of_a_family_are_those_of_the_real_model(
    model_type: str, changes: dict[str, Any]
) -> None:
    config = CONFIGS[model_type]()
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    real = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert expected_shapes({"model_type": model_type, **config.to_dict()}) == real


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_what_the_config_does_not_say_is_taken_as_its_class_does(model_type: str) -> None:
    silent = {"model_type": model_type}
    config = AutoConfig.for_model(model_type)
    assert is_tied(silent) == config.tie_word_embeddings
    family = FAMILIES[model_type]
    parameters = (*family.inside, *family.outside)
    for switch in {switch for parameter in parameters for switch in parameter.switches}:
        assert getattr(config, switch.key) == switch.default
    for rows in {size for parameter in parameters for size in parameter.shape if isinstance(size, Rows)}:
        assert getattr(config, rows.key) == rows.default


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_what_transformers_expects_to_be_left_over_is_known(model_type: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[model_type]())
    for pattern in model._keys_to_ignore_on_load_unexpected or ():
        assert any(re.search(pattern, name) for name in FAMILIES[model_type].left_overs)


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "llama"])
def test_a_checkpoint_of_the_base_model_alone_has_the_same_layers(model_type: str, tmp_path: Path) -> None:
    folder = save_family(model_type, tmp_path)
    before = facts_of(folder)
    file = folder / "model.safetensors"
    prefix = FAMILIES[model_type].base_prefix + "."
    bare = {name.removeprefix(prefix): tensor for name, tensor in load_file(file).items()}
    save_file(bare, file, metadata={"format": "pt"})
    assert facts_of(folder).layers == before.layers


def test_headers_say_what_the_safetensors_library_reads(tmp_path: Path) -> None:
    folder = save_family("qwen2", tmp_path, dtype=torch.bfloat16)
    loaded = load_file(folder / "model.safetensors")
    facts = facts_of(folder)
    assert {name: info.shape for name, info in facts.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in loaded.items()
    }
    assert {info.dtype for info in facts.tensors.values()} == {"BF16"}
