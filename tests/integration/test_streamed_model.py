"""The model of which one block is in memory computes what transformers computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.tied_head import settle_head
from quantize_lib.errors import SourceError
from quantize_lib.source import read_facts
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.families import CONFIGS, VOCABULARY, save_family
from tests.support.odd_weights import rewrite, say, shard, tensors_of


def read(folder: Path) -> ModelFacts:
    (folder / "tokenizer.json").write_text("{}")
    return read_facts(ModelSpec(id="./m", name="m", local=folder), folder, revision="sha256:0")


def facts_of(folder: Path) -> ModelFacts:
    return settle_head(folder, read(folder))


def stream(folder: Path) -> StreamedModel:
    facts = facts_of(folder)
    return StreamedModel(folder, facts, device=torch.device("cpu"))


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
    assert all(name.startswith("transformer.") for name in model.outside_tensors())


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


def test_a_tensor_that_the_class_does_not_know_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    facts = facts_of(folder)
    name = "model.layers.0.self_attn.sinks"
    more = {**facts.tensors, name: TensorInfo(name=name, dtype="F32", shape=(4,), file="model.safetensors")}
    with pytest.raises(SourceError, match=r"does not load, .* `model\.layers\.0\.self_attn\.sinks`"):
        StreamedModel(folder, replace(facts, tensors=more), device=torch.device("cpu"))


def test_what_stands_beside_by_the_class_alone_is_told_and_copied(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    facts = facts_of(folder)
    name = "mtp.fc.weight"
    more = {**facts.tensors, name: TensorInfo(name=name, dtype="F32", shape=(4,), file="model.safetensors")}
    model = StreamedModel(folder, replace(facts, tensors=more), device=torch.device("cpu"))
    assert model.notes == (
        "1 tensor beside the language model is copied unchanged, though transformers does not load it: "
        "`mtp.fc.weight`",
    )
    assert name not in model.outside_tensors()
    assert [info.name for info in model._copied] == [name]


def test_a_class_that_ties_a_head_that_differs_is_refused_where_nobody_settled_that(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    say(folder, tie_word_embeddings=True)
    with pytest.raises(
        SourceError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight, and the model's class"
    ):
        StreamedModel(folder, read(folder), device=torch.device("cpu"))


def test_a_tensor_that_the_class_wants_is_named_before_anything_is_read(tmp_path: Path) -> None:
    folder = save_family("llama", tmp_path)
    facts = facts_of(folder)
    name = "model.layers.1.input_layernorm.weight"
    fewer = {other: info for other, info in facts.tensors.items() if other != name}
    with pytest.raises(SourceError, match=r"has no tensor model\.layers\.1\.input_layernorm\.weight"):
        StreamedModel(folder, replace(facts, tensors=fewer), device=torch.device("cpu"))


def ends(model_type: str) -> tuple[str, str]:
    """The names of embedding and head as save_pretrained writes them."""
    facts = class_facts.of({"model_type": model_type})
    assert facts is not None
    return facts.embedding, "embed_out.weight" if model_type == "gpt_neox" else facts.head


def head_alone(folder: Path, model_type: str) -> None:
    tensors, (embedding, head) = tensors_of(folder), ends(model_type)
    tensors[head] = tensors.pop(embedding)
    rewrite(folder, tensors)
    say(folder, tie_word_embeddings=True)


def head_beside(folder: Path, model_type: str) -> None:
    tensors, (embedding, head) = tensors_of(folder), ends(model_type)
    rewrite(folder, tensors | {head: tensors[embedding].flip(0).contiguous()})
    say(folder, tie_word_embeddings=True)


def head_twice(folder: Path, model_type: str) -> None:
    tensors, (embedding, head) = tensors_of(folder), ends(model_type)
    rewrite(folder, tensors | {head: tensors[embedding].clone()})
    say(folder, tie_word_embeddings=True)


def shards_that_disagree(folder: Path, _model_type: str) -> None:
    tensors = tensors_of(folder)
    names = sorted(tensors)
    repeated, unlisted = names[3], names[-1]
    parts = {
        f"model-{part}.safetensors": {name: tensors[name].clone() for name in names[number::3]}
        for number, part in enumerate(("b", "c", "a"))
    }
    weight_map = {name: file for file, held in parts.items() for name in held}
    for file, factor in (
        ("model-a.safetensors", 2.0),
        ("model-b.safetensors", 3.0),
        ("model-c.safetensors", 0.5),
    ):
        parts[file][repeated] = tensors[repeated] * factor
    weight_map[repeated] = "model-a.safetensors"
    del weight_map[unlisted]
    weight_map["mtp.fc.weight"] = "model-c.safetensors"
    shard(folder, parts, weight_map)


def further_blocks(folder: Path, _model_type: str) -> None:
    tensors = tensors_of(folder)
    more = {name.replace(".1.", ".2."): tensor.clone() for name, tensor in tensors.items() if ".1." in name}
    rewrite(folder, tensors | more)


@pytest.mark.parametrize(
    "oddity", [head_alone, head_beside, head_twice, shards_that_disagree, further_blocks]
)
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gpt_neox", "opt"])
def test_odd_files_are_read_as_transformers_reads_them(
    model_type: str, oddity: Callable[[Path, str], None], tmp_path: Path
) -> None:
    folder = save_family(model_type, tmp_path)
    oddity(folder, model_type)
    ids = torch.randint(3, VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(1))
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(logits(stream(folder), ids), expected(input_ids=ids).logits)
