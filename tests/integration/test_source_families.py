"""What is known of models before transformers is imported, against the real model classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion
from transformers.pytorch_utils import Conv1D

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.config_values import check_values
from quantize_lib.architecture.families import is_tied
from quantize_lib.architecture.places import Places
from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.source import inspect
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.families import CONFIGS, save_family
from tests.support.tiny_models import tiny_config, tiny_types

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


def facts_of(folder: Path) -> ModelFacts:
    (folder / "tokenizer.json").write_text("{}")
    return inspect(ModelSpec(id="./m", name="m", local=folder), token=None)


def known(config: dict[str, Any]) -> Places:
    facts = class_facts.of(config)
    assert facts is not None
    return Places(facts, config)


SEVERAL_LISTS = ("blt", "hrm_text", "inkling2_text")
"""Types whose blocks do not follow each other, which are refused."""


@pytest.mark.parametrize("name", [name for name in tiny_types() if name not in SEVERAL_LISTS])
def test_every_tensor_of_every_type_has_its_place(name: str) -> None:
    config = tiny_config(name)
    said: dict[str, Any] = json.loads(config.to_json_string())
    facts = class_facts.of(said)
    assert facts is not None, "no facts of this type"
    with torch.device("meta"):
        model = getattr(transformers, facts.class_name)(config)
    state = {name: one for name, one in model.state_dict().items() if name not in model.all_tied_weights_keys}
    tensors = {
        name: TensorInfo(name=name, dtype=DTYPES[one.dtype], shape=tuple(one.shape), file="model.safetensors")
        for name, one in revert_weight_conversion(model, state).items()
    }
    check_values(said)
    placed = place(said, Weights(tensors=tensors, files=("model.safetensors",)))
    assert placed.tensors == tensors
    assert placed.strays == ()


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_layers_are_those_of_the_real_model(model_type: str, tmp_path: Path) -> None:
    facts = facts_of(save_family(model_type, tmp_path))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[model_type]())
    (blocks,) = facts.blocks
    real = []
    for name, module in model.named_modules():
        if name.startswith(blocks + "."):
            if isinstance(module, nn.Linear):
                real.append((name, module.in_features, module.out_features))
            elif isinstance(module, Conv1D):
                real.append((name, module.nx, module.nf))
    assert sorted((layer.name, layer.in_features, layer.out_features) for layer in facts.layers) == sorted(
        real
    )


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
    ("opt", {"max_position_embeddings": 100}),
    ("qwen3", {"attention_bias": True}),
]
"""Keys of the config that decide which parameters there are."""


@pytest.mark.parametrize(
    ("model_type", "changes"), [*((model_type, {}) for model_type in sorted(CONFIGS)), *SWITCHED]
)
def test_the_tensors_of_a_type_are_those_of_the_real_model(model_type: str, changes: dict[str, Any]) -> None:
    config = CONFIGS[model_type]()
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    real = {
        name: tuple(value.shape)
        for name, value in revert_weight_conversion(model, model.state_dict()).items()
    }
    assert known({"model_type": model_type, **config.to_dict()}).expected() == real


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_what_the_config_does_not_say_is_taken_as_its_class_does(model_type: str) -> None:
    silent = {"model_type": model_type}
    config = AutoConfig.for_model(model_type)
    assert is_tied(silent) == config.tie_word_embeddings
    sizes = known(silent).sizes
    assert sizes
    # A window that is not used is none in the end.
    used = {key: size for key, size in sizes.items() if getattr(config, key) is not None}
    assert {key: getattr(config, key) for key in used} == used


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "llama"])
def test_a_checkpoint_of_the_base_model_alone_has_the_same_layers(model_type: str, tmp_path: Path) -> None:
    folder = save_family(model_type, tmp_path)
    before = facts_of(folder)
    file = folder / "model.safetensors"
    prefix = f"{known({'model_type': model_type}).facts.base}."
    bare = {name.removeprefix(prefix): tensor for name, tensor in load_file(file).items()}
    save_file(bare, file, metadata={"format": "pt"})
    after = facts_of(folder)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]


def test_headers_say_what_the_safetensors_library_reads(tmp_path: Path) -> None:
    folder = save_family("qwen2", tmp_path, dtype=torch.bfloat16)
    loaded = load_file(folder / "model.safetensors")
    facts = facts_of(folder)
    assert {name: info.shape for name, info in facts.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in loaded.items()
    }
    assert {info.dtype for info in facts.tensors.values()} == {"BF16"}
