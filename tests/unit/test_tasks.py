"""What a model is for is read off the class that its config names; what it cannot be asked for is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.group_sizes import resolve_group_size
from quantize_lib.errors import SourceError
from quantize_lib.methods import Settings
from quantize_lib.source import inspect
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import stated_task, task_of
from tests.support.model_files import header_of, shard_bytes, write_model

BERT: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
}


def bert(folder: Path, **config: Any) -> ModelFacts:
    """What plan knows of a BERT with zeros for weights."""
    write_model(folder)
    (folder / "config.json").write_text(json.dumps(BERT | config))
    shapes: dict[str, tuple[int, ...]] = {"bert.embeddings.word_embeddings.weight": (64, 64)}
    for block in range(2):
        prefix = f"bert.encoder.layer.{block}"
        shapes |= {f"{prefix}.attention.self.{name}.weight": (64, 64) for name in ("query", "key", "value")}
        shapes[f"{prefix}.intermediate.dense.weight"] = (128, 64)
        shapes[f"{prefix}.output.dense.weight"] = (64, 128)
        shapes[f"{prefix}.output.LayerNorm.weight"] = (64,)
    shapes["classifier.weight"] = (3, 64)
    header = header_of(shapes)
    size = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    (folder / "model.safetensors").write_bytes(shard_bytes(header, size))
    return inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None)


@pytest.mark.parametrize(
    ("config", "auto"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "AutoModelForCausalLM"),
        ({"architectures": ["GPT2LMHeadModel"]}, "AutoModelForCausalLM"),
        ({"architectures": ["BertForMaskedLM"]}, "AutoModelForMaskedLM"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "AutoModelForSequenceClassification"),
        ({"architectures": ["XLMRobertaForTokenClassification"]}, "AutoModelForTokenClassification"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "AutoModel"),
        (
            {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            "AutoModelForSeq2SeqLM",
        ),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {"depth": 2}},
            "AutoModelForImageTextToText",
        ),
        ({"architectures": ["MarianMTModel"], "is_encoder_decoder": True}, "AutoModelForSeq2SeqLM"),
    ],
)
def test_the_class_that_a_config_names_says_the_task(config: dict[str, Any], auto: str) -> None:
    found = stated_task(config)
    assert found is not None
    assert found.auto_class == auto
    assert found.continues == (auto in ("AutoModelForCausalLM", "AutoModelForImageTextToText"))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": "BertForMaskedLM"},
        {"architectures": [3]},
        {"architectures": ["LlamaModel"], "model_type": "llama"},
        {
            "architectures": ["WhisperForConditionalGeneration"],
            "is_encoder_decoder": True,
            "num_mel_bins": 80,
        },
    ],
)
def test_what_names_no_other_task_is_taken_for_a_causal_language_model(config: dict[str, Any]) -> None:
    assert stated_task(config) is None
    assert task_of(config).continues


def test_a_classifier_is_seen_with_its_layers_and_told_to_have_no_perplexity(tmp_path: Path) -> None:
    facts = bert(tmp_path / "mine")
    assert len(facts.layers) == 10
    assert all(layer.name.startswith("bert.encoder.layer.") for layer in facts.layers)
    assert facts.notes == (
        "it is a model for sequence classification and continues no text: it has no perplexity",
    )
    assert resolve_group_size(facts, Settings(method="bitsandbytes", bits=4)) == -1


@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("awq", 4), ("fp8", 8), ("nvfp4", 4)])
def test_methods_that_are_made_or_checked_by_text_refuse_it_and_name_one_that_does_not(
    method: str, bits: int, tmp_path: Path
) -> None:
    facts = bert(tmp_path / "mine")
    with pytest.raises(SourceError) as caught:
        resolve_group_size(facts, Settings(method=method, bits=bits))
    assert caught.value.message == (
        f"{method} needs a causal language model, and BertForSequenceClassification (bert) is a model for "
        "sequence classification"
    )
    assert caught.value.hint == "Take bitsandbytes for it."


def test_experts_of_a_model_that_continues_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a mixture of experts, which can be quantized only as a causal"):
        bert(tmp_path / "mine", num_experts=8)


def test_an_encoder_decoder_whose_class_nobody_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is an encoder-decoder model by config\.json"):
        bert(tmp_path / "mine", architectures=["T5EncoderThing"], is_encoder_decoder=True)
