"""Walked from block to block, models of many kinds compute what transformers computes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import Weights
from quantize_lib.engine.carried import is_plain
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.module_tree import auto_class
from quantize_lib.engine.pass_state import CarriedText
from quantize_lib.engine.shards import read_tensor
from quantize_lib.engine.skeleton import Skeleton
from quantize_lib.engine.walk import BlockCall
from quantize_lib.engine.walk_check import prove_walk, usable
from quantize_lib.errors import SourceError
from quantize_lib.files import read_json
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.headers import read_header
from tests.support.quantizing import model_facts
from tests.support.tiny_models import RESERVED, VOCABULARY, save_tiny

IDS = torch.randint(RESERVED, VOCABULARY, (4, 48), generator=torch.Generator().manual_seed(1))


def streamed(name: str, folder: Path, **sizes: int) -> tuple[StreamedModel, ModelFacts]:
    save_tiny(name, folder, sizes=sizes)
    facts = model_facts(folder)
    return StreamedModel(folder, facts, device=torch.device("cpu")), facts


@torch.inference_mode()
def walked(model: StreamedModel, *, stop: Callable[[int, CarriedText], CarriedText] | None = None) -> Tensor:
    """Logits of two batches that are walked through the model together."""
    text = CarriedText(IDS, 2)
    with model.outer():
        text.embed(model, list)
    for index in range(len(model)):
        text.advance(model.load_block(index), index, text.hidden)
        if stop is not None:
            text = stop(index, text)
    with model.outer():
        return torch.cat(
            [model.head(ids, states) for ids, states in zip(text.batches, text.hidden, strict=True)]
        )


@torch.inference_mode()
def expected(model: StreamedModel, folder: Path) -> Tensor:
    whole = auto_class(model.config).from_pretrained(folder, dtype=torch.float32).eval()
    return torch.cat([whole(input_ids=ids, use_cache=False).logits for ids in IDS.split(2)])


@pytest.mark.parametrize(
    "name",
    [
        # Experts that transformers fuses when it loads them.
        *("qwen3_moe", "mixtral", "deepseek_v4"),
        # Per-layer embeddings, and keys and values that later blocks share.
        *("gemma3n_text", "gemma4_text-ple"),
        # Blocks that return tuples, and that read what another one returned.
        *("bloom", "glm_moe_dsa", "zaya"),
        # Two tensors leave the last block.
        "reformer",
        # Blocks that share weights.
        "zamba",
        # Buffers that the model computes for all of its blocks.
        "falcon_h1",
        # A block that text does not pass through, beside a vision part.
        "mllama",
        # Vision parts, with names of their own on disk.
        *("idefics3", "mistral3", "phi4_multimodal"),
        # Hidden states of another layout.
        "xlnet",
    ],
)
def test_two_batches_have_the_models_own_logits_to_the_last_bit(name: str, tmp_path: Path) -> None:
    model, facts = streamed(name, tmp_path)
    model.check_agreement()
    usable(model, facts, IDS)
    assert torch.equal(walked(model), expected(model, tmp_path))


def test_hidden_states_that_rwkv_halves_on_the_way_come_out_the_same(tmp_path: Path) -> None:
    model, facts = streamed("rwkv", tmp_path, num_hidden_layers=5, rescale_every=2)
    usable(model, facts, IDS)
    base = _as_configured(tmp_path)
    # A norm's epsilon weighs more beside halved hidden states, and most beside small random ones.
    assert float((walked(model) - base).abs().max() / base.std()) < 1e-2


@torch.inference_mode()
def _as_configured(folder: Path) -> Tensor:
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert whole.config.rescale_every == 2
    return torch.cat([whole(input_ids=ids, use_cache=False).logits for ids in IDS.split(2)])


def test_batches_share_what_blocks_are_called_with_only_where_it_is_equal(tmp_path: Path) -> None:
    kept = {}
    for name in ("llama", "gemma3n_text"):
        model, _ = streamed(name, tmp_path / name)
        prove_walk(model, IDS)
        text = CarriedText(IDS, 1)
        with torch.inference_mode(), model.outer():
            text.embed(model, list)
        kept[name] = len({id(calls) for calls in text._calls})
    assert kept == {"llama": 1, "gemma3n_text": len(IDS)}


def test_a_later_process_goes_on_with_what_is_carried_beside_the_hidden_states(tmp_path: Path) -> None:
    model, _ = streamed("gemma4_text-ple", tmp_path)
    prove_walk(model, IDS)
    plain: list[bool] = []

    def again(_index: int, text: CarriedText) -> CarriedText:
        plain.append(is_plain(text.hidden[0]))
        fresh = CarriedText(IDS, 2)
        with model.outer():
            fresh.embed(model, list, [states.clone() for states in text.hidden])
        return fresh

    assert torch.equal(walked(model, stop=again), expected(model, tmp_path))
    assert False in plain


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("bart", "encoder_attn"),
        ("mllama", "layers.1."),
        ("zamba", "shared_transf"),
    ],
)
def test_layers_that_text_does_not_pass_through_or_that_blocks_share_are_left_out_and_told(
    name: str, left_out: str, tmp_path: Path
) -> None:
    model, facts = streamed(name, tmp_path)
    usable_facts = usable(model, facts, IDS)
    before, after = ({layer.name for layer in one.layers} for one in (facts, usable_facts))
    assert before - after == {layer for layer in before if left_out in layer}
    assert {usable_facts.kept[f"{layer}.weight"] for layer in before - after} <= {
        "text does not pass through it as a layer",
        "several blocks share it",
    }
    assert any("stay in full precision" in note for note in usable_facts.notes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hrm_text", "several lists"),
        ("blt", "several lists"),
        ("inkling2_text", "what all before it returned"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_a_sentence_without_its_weights(
    name: str, reason: str, tmp_path: Path
) -> None:
    file = save_tiny(name, tmp_path) / "model.safetensors"
    config, tensors = read_json(tmp_path / "config.json"), read_header(file, file=file.name)
    file.unlink()
    words = f"cannot be taken through its blocks one by one: .*{reason}"
    with pytest.raises(SourceError, match=words):
        place(config, Weights(tensors=tensors, files=(file.name,)))
    with pytest.raises(SourceError, match=words):
        Skeleton(tmp_path, Architecture(config=config, tensors=tensors, layers=()), dtype=torch.bfloat16)


def test_a_walk_that_differs_from_the_models_own_forward_is_refused_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = streamed("llama", tmp_path)
    run = BlockCall.run

    def spoilt(self: BlockCall, block: Any, state: Any) -> Any:
        return {key: value * 1.001 for key, value in run(self, block, state).items()}

    monkeypatch.setattr(BlockCall, "run", spoilt)
    with pytest.raises(
        SourceError, match=r"walked from block to block its logits differ by \d\S* from its own"
    ):
        prove_walk(model, IDS)


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "llama4_text", "gpt2"])
def test_every_layer_of_the_files_is_found_in_memory_with_its_values(name: str, tmp_path: Path) -> None:
    model, facts = streamed(name, tmp_path)
    blocks = [model.load_block(index) for index in range(len(model))]
    for layer in facts.layers:
        place = model.places.find(layer)
        stored = read_tensor(tmp_path, facts.tensors[layer.tensor]).float()
        if layer.expert is not None:
            half = (
                slice(layer.out_features, None)
                if layer.name.endswith("up_proj")
                else slice(layer.out_features)
            )
            stored = stored[layer.expert].T[half]
        elif facts.conv1d:
            stored = stored.T
        assert torch.equal(place.matrix(blocks[place.block]), stored)


def test_layers_are_written_under_their_names_on_disk(tmp_path: Path) -> None:
    model, facts = streamed("mixtral", tmp_path)
    names = model.layer_names(0)
    assert names["mlp.experts.3.gate_proj"] == "model.layers.0.block_sparse_moe.experts.3.w1"
    assert set(names.values()) == {layer.name for layer in facts.layers if ".layers.0." in layer.name}
    assert model.written("model.layers.0.mlp.gate.weight") == "model.layers.0.block_sparse_moe.gate.weight"


def test_infinities_of_parts_that_text_does_not_meet_travel_along(tmp_path: Path) -> None:
    model, _ = streamed("gemma4", tmp_path)
    held = dict(model.read(model.outside_tensors()))
    assert any(bool(tensor.isinf().any()) for tensor in held.values())


def test_headers_and_class_that_disagree_are_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    facts = model_facts(folder)
    first, *others = facts.layers
    wider = replace(first, in_features=first.in_features * 2)
    for layers, problem in (((wider, *others), "has the shape"), (tuple(others), "headers do not show that")):
        skeleton = Skeleton(folder, replace(facts, layers=layers), dtype=torch.bfloat16)
        with pytest.raises(SourceError, match=problem) as raised:
            skeleton.check_agreement()
        assert first.tensor in raised.value.message
