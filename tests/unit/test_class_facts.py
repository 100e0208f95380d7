"""Every type's tensors and config values are judged by the facts of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.class_names import in_memory
from quantize_lib.architecture.config_values import check_values
from quantize_lib.architecture.families import is_tied
from quantize_lib.architecture.places import Places
from quantize_lib.architecture.placing import Placed, place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError

FILE = "model.safetensors"
SIZES: dict[str, Any] = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "vocab_size": 50, "head_dim": 16},
}
MIXTURE = SIZES | {"model_type": "qwen3_moe", "num_experts": 4, "moe_intermediate_size": 32}
GEMMA3: dict[str, Any] = {"model_type": "gemma3", "text_config": SIZES | {"model_type": "gemma3_text"}}
EXPERT = "model.layers.1.mlp.experts.{}.{}_proj.weight"


def known(config: Mapping[str, Any]) -> Places:
    facts = class_facts.of(config)
    assert facts is not None
    return Places(facts, config)


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """What the class loads, with the experts of each block."""
    shapes = known(config).expected()
    for block in range(2) if config is MIXTURE else ():
        shapes[f"model.layers.{block}.mlp.gate.weight"] = (4, 64)
        for expert in range(4):
            start = f"model.layers.{block}.mlp.experts.{expert}."
            shapes |= {f"{start}{part}_proj.weight": (32, 64) for part in ("gate", "up")}
            shapes[f"{start}down_proj.weight"] = (64, 32)
    return shapes


def placed(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Placed:
    tensors = {
        name: TensorInfo(name=name, dtype="BF16", shape=shape, file=FILE) for name, shape in shapes.items()
    }
    return place(config, Weights(tensors=tensors, files=(FILE,)))


def message_of(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    with pytest.raises(SourceError) as caught:
        placed(config, shapes)
    return caught.value.message


def test_a_mixture_whose_tensors_are_all_there_gives_no_note() -> None:
    found = placed(MIXTURE, shapes_of(MIXTURE))
    assert (found.notes, found.strays) == ((), ())
    assert found.structure.experts


@pytest.mark.parametrize(
    "name", [EXPERT.format(2, "up"), EXPERT.format(3, "down"), "model.layers.0.mlp.gate.weight"]
)
def test_an_expert_or_a_router_that_is_missing_is_named(name: str) -> None:
    shapes = shapes_of(MIXTURE)
    shape = list(shapes.pop(name))
    assert message_of(MIXTURE, shapes) == f"the base model has no tensor {name} (shape {shape})"


def test_an_expert_of_another_shape_is_named() -> None:
    shapes = shapes_of(MIXTURE) | {EXPERT.format(0, "gate"): (33, 64)}
    assert message_of(MIXTURE, shapes).endswith("has the shape [33, 64], config.json asks for [32, 64]")


def test_a_dense_block_may_stand_among_blocks_with_experts() -> None:
    shapes = {name: shape for name, shape in shapes_of(MIXTURE).items() if ".0.mlp." not in name}
    for part in ("gate", "up"):
        shapes[f"model.layers.0.mlp.{part}_proj.weight"] = (96, 64)
    shapes["model.layers.0.mlp.down_proj.weight"] = (64, 96)
    assert placed(MIXTURE | {"mlp_only_layers": [0]}, shapes).strays == ()


def test_a_bias_that_a_nested_config_forgets_is_refused_with_the_key() -> None:
    shapes = known(GEMMA3).expected()
    shapes["language_model.model.layers.0.self_attn.q_proj.bias"] = (64,)
    with pytest.raises(SourceError) as caught:
        placed(GEMMA3, shapes)
    assert "that a gemma3 with this config.json does not load" in caught.value.message
    assert "attention_bias: true" in str(caught.value.hint)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_parts_beside_a_language_model_belong_to_its_class(prefix: str) -> None:
    shapes = known(GEMMA3).expected()
    shapes[f"{prefix}vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"] = (8, 8)
    found = placed(GEMMA3, shapes)
    assert (found.strays, found.copied) == ((), ())
    assert found.tensors.keys() == shapes.keys()


def test_newer_and_older_names_of_a_type_are_both_known() -> None:
    newer = {
        name.replace("language_model.model.", "model.language_model."): shape
        for name, shape in known(GEMMA3).expected().items()
    }
    found = placed(GEMMA3, newer)
    assert found.strays == ()
    assert found.structure.blocks == "model.language_model.layers"


def test_names_become_those_in_memory_as_transformers_renames_them() -> None:
    facts = class_facts.of({"model_type": "mixtral"})
    assert facts is not None
    name = "model.layers.3.block_sparse_moe.experts.7.w1.weight"
    assert in_memory(name, facts.renamed, facts.base) == ("model.layers.3.mlp.experts.gate_up_proj", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rms_norm_eps": "1e-6"},
            "rms_norm_eps is the text `1e-6`; a number with a decimal point is needed",
        ),
        (
            {"pad_token_id": 50},
            "pad_token_id is 50; 0 to 49 (the vocabulary has 50 tokens) or null is needed",
        ),
        ({"hidden_activation": "silly"}, "hidden_activation is `silly`, which is no activation function of"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; a divisor of num_attention_heads (4) is"),
        (
            {"layer_types": ["full_attention"]},
            "layer_types has 1 entries, but num_hidden_layers says 2 blocks",
        ),
    ],
)
def test_values_of_a_nested_config_are_judged_under_their_full_key(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        check_values(GEMMA3 | {"text_config": GEMMA3["text_config"] | change})
    assert caught.value.message.startswith(f"config.json: text_config.{message}")


def test_a_nested_config_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(SourceError, match=r"text_config is the text `gemma3_text`; a mapping is needed"):
        check_values({"model_type": "gemma3", "text_config": "gemma3_text"})


def test_a_type_that_nobody_knows_has_no_such_checks() -> None:
    config = {"model_type": "of_my_own", "hidden_size": "large"}
    assert class_facts.of(config) is None
    check_values(config)


def test_what_the_class_ties_counts_and_not_what_its_config_says() -> None:
    assert is_tied({"model_type": "gemma3"})
    assert not is_tied({"model_type": "cpmant", "tie_word_embeddings": True})


def test_the_keys_that_transformers_uses_in_every_class_are_known_in_this_ones_words() -> None:
    facts = class_facts.of({"model_type": "gpt2"})
    assert facts is not None
    assert facts.key("num_hidden_layers") == "n_layer"
    assert facts.sizes({"num_hidden_layers": 3, "n_embd": 32})["n_layer"] == 3
