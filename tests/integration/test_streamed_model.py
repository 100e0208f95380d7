"""The model of which one block is in memory computes what transformers computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from quantize_lib.architecture.families import get_family
from quantize_lib.engine.model import StreamedModel
from quantize_lib.errors import SourceError
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.headers import read_header
from tests.support.families import CONFIGS, VOCABULARY, save_family


def facts_of(folder: Path) -> ModelFacts:
    return ModelFacts(
        config=json.loads((folder / "config.json").read_text()),
        revision="sha256:0",
        tensors=read_header(folder / "model.safetensors", file="model.safetensors"),
        layers=(),
        weight_bytes=0,
        download_bytes=0,
    )


def stream(folder: Path) -> StreamedModel:
    facts = facts_of(folder)
    return StreamedModel(folder, facts, blocks=get_family(facts.config).blocks, device=torch.device("cpu"))


def logits(model: StreamedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        with model.outer():
            hidden, calls = model.embed(ids)
        for index in range(len(model)):
            hidden = calls[index](model.load_block(index), hidden)
        with model.outer():
            return model.head(ids, hidden)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_logits_are_those_of_transformers_to_the_last_bit(model_type: str, tmp_path: Path) -> None:
    folder = save_family(model_type, tmp_path)
    # Longer than the sliding windows of the families that have one.
    ids = torch.randint(3, VOCABULARY, (2, 80), generator=torch.Generator().manual_seed(1))
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(logits(stream(folder), ids), expected(input_ids=ids).logits)


def test_a_checkpoint_without_the_base_models_prefix_is_read_alike(tmp_path: Path) -> None:
    folder = save_family("gpt2", tmp_path)
    ids = torch.arange(3, 40)[None]
    expected = logits(stream(folder), ids)
    file = folder / "model.safetensors"
    renamed = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(renamed, file)
    model = stream(folder)
    assert torch.equal(logits(model, ids), expected)
    assert all(model.output_name(name).startswith("transformer.") for name in model.outside_tensors())


def test_nan_in_a_weight_is_an_error_that_names_file_and_tensor(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    model = stream(folder)
    model.load_block(0)
    with pytest.raises(
        SourceError,
        match=r"model\.safetensors: tensor model\.layers\.1\.mlp\.up_proj\.weight holds NaN or Inf",
    ):
        model.load_block(1)


def test_a_missing_tensor_is_named_before_anything_is_read(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.input_layernorm.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"has no tensor model\.layers\.1\.input_layernorm\.weight"):
        stream(folder)
