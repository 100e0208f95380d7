"""What is known of config.json without transformers is what transformers itself says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING
from transformers.activations import ACT2FN

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.config_values import check_values
from quantize_lib.engine.model import StreamedModel
from quantize_lib.errors import SourceError
from quantize_lib.files import read_json
from tests.support.families import save_family
from tests.support.quantizing import model_facts

VALUES: tuple[Any, ...] = (
    None,
    True,
    2,
    0.5,
    "silu",
    [1],
    [True],
    ["full_attention", "full_attention"],
    [],
    {},
)
SIZES = {
    "gpt2": {"n_embd": 96, "n_inner": 160, "n_layer": 2, "n_head": 6},
    "opt": {"hidden_size": 96, "ffn_dim": 160, "num_hidden_layers": 2, "num_attention_heads": 6},
}
TYPES = (
    *("gemma2", "gpt2", "gpt_neox", "llama", "mistral", "opt", "phi3", "qwen2", "qwen3"),
    *("cohere2", "granite", "olmo2", "qwen3_moe", "smollm3"),
)
GATED = {
    **{"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 6},
    **{"num_key_value_heads": 2, "pad_token_id": 0},
}
JUDGED_OTHERWISE = {
    *("hidden_size", "n_embd", "intermediate_size", "ffn_dim", "num_hidden_layers", "n_layer"),
    *("num_attention_heads", "n_head", "vocab_size", "num_key_value_heads", "head_dim"),
    *("rope_parameters", "num_experts", "num_experts_per_tok"),
}
"""Sizes have to fit each other and the tensors as well; of these the wrong types count alone."""
PER_BLOCK = ("no_rope_layers",)


def kinds(model_type: str) -> Mapping[str, str]:
    facts = class_facts.of({"model_type": model_type})
    assert facts is not None
    return facts.kinds


def refuses(config: dict[str, Any]) -> bool:
    try:
        check_values(config)
    except SourceError:
        return True
    return False


def fails(config: dict[str, Any]) -> bool:
    kind = CONFIG_MAPPING[config["model_type"]]
    try:
        kind(**{key: value for key, value in config.items() if key != "model_type"})
    except (StrictDataclassError, ValueError, TypeError, AttributeError, IndexError, ZeroDivisionError):
        return True
    return False


@pytest.mark.parametrize("family", TYPES)
def test_plan_refuses_the_types_that_the_config_class_refuses(family: str) -> None:
    base = {"model_type": family, "vocab_size": 64, **SIZES.get(family, GATED)}
    assert not refuses(base)
    assert not fails(base)
    different = [
        (key, value)
        for key, kind in sorted(kinds(family).items())
        for value in VALUES
        if not (key in JUDGED_OTHERWISE and isinstance(value, int | dict))
        # A list of one thing for each block: with another length the class fails on its own.
        if not (key in PER_BLOCK and isinstance(value, list))
        if not (isinstance(value, str) and kind.startswith(("text", "activation")))
        if refuses({**base, key: value}) != fails({**base, key: value})
    ]
    assert different == []


@pytest.mark.parametrize("family", TYPES)
def test_every_field_that_the_config_class_insists_on_is_known(family: str) -> None:
    base = {"model_type": family, "vocab_size": 64, **SIZES.get(family, GATED)}
    insisted = {
        name
        for name in CONFIG_MAPPING[family].__dataclass_fields__
        if name != "model_type" and fails({**base, name: object()})
    }
    # Checked in the worker, in transformers' own words.
    own = {
        "id2label",
        "label2id",
        "problem_type",
        "dtype",
        "default_theta",
        "attribute_map",
    }
    assert insisted - own == kinds(family).keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_types": ["one", "two"]}, "StrictDataclassClassValidationError"),
        ({"id2label": {"a": "b"}}, "ValueError: invalid literal for int"),
        ({"rope_scaling": {"rope_type": "own", "factor": 2.0}}, "'own'"),
        ({"rope_scaling": "linear"}, "Error"),
    ],
)
def test_what_only_transformers_can_judge_is_refused_in_one_sentence_with_its_last_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = save_family("llama", tmp_path / "mine")
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "rope_parameters": None, **change}))
    with pytest.raises(SourceError) as caught:
        StreamedModel(folder, model_facts(folder), device=torch.device("cpu"))
    assert caught.value.message.startswith(
        "mine: transformers cannot build the model that config.json describes: "
    )
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def test_the_activation_functions_are_those_of_transformers() -> None:
    assert set(class_facts.activations()) == set(ACT2FN)
