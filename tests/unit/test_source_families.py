from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.config_values import check_values
from quantize_lib.architecture.families import check_head, check_type
from quantize_lib.architecture.places import Places
from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from tests.support.model_files import LLAMA, llama_shapes


def tensors(shapes: dict[str, tuple[int, ...]], dtype: str = "BF16") -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name=name, dtype=dtype, shape=shape, file="model.safetensors")
        for name, shape in shapes.items()
    }


def test_an_encoder_decoder_is_refused_by_what_it_is() -> None:
    config = {"model_type": "t5", "architectures": ["T5EncoderModel"], "is_encoder_decoder": True}
    with pytest.raises(SourceError) as caught:
        check_type(config)
    assert caught.value.message == (
        "T5EncoderModel (t5) is an encoder-decoder model by config.json (is_encoder_decoder), and not by its "
        "class"
    )


def test_a_config_without_a_type_is_refused() -> None:
    with pytest.raises(SourceError, match=r"config\.json says no model_type"):
        check_type({})


def test_a_model_for_a_task_that_nobody_knows_is_refused() -> None:
    names = [name for name in llama_shapes() if name != "lm_head.weight"]
    with pytest.raises(SourceError, match="is not a causal language model"):
        check_head(LLAMA | {"architectures": ["LlamaForQuestionAnswering"]}, [*names, "qa_outputs.weight"])


@pytest.mark.parametrize("classes", [None, [], ["LlamaModel"], ["LlamaForSequenceClassification"], 3])
def test_a_model_with_the_head_of_a_language_model_is_one_whatever_it_is_called(classes: object) -> None:
    config = LLAMA | {"architectures": classes}
    check_type(config)
    check_head(config, llama_shapes())


@pytest.mark.parametrize("value", [0, -1, 1 << 40])
def test_a_size_that_is_no_sensible_number_is_named(value: int) -> None:
    with pytest.raises(SourceError) as caught:
        check_values(LLAMA | {"hidden_size": value})
    assert caught.value.message == f"config.json: hidden_size is {value}; a positive whole number is needed"


def test_more_blocks_than_any_model_has_are_refused() -> None:
    with pytest.raises(SourceError, match="num_hidden_layers is 1000000"):
        check_values(LLAMA | {"num_hidden_layers": 1_000_000})


def shape(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    facts = class_facts.of(config)
    assert facts is not None
    return Places(facts, config).expected()[name]


def test_head_dim_and_fewer_key_value_heads_count() -> None:
    config = LLAMA | {"model_type": "qwen3", "head_dim": 32}
    assert shape(config, "model.layers.0.self_attn.q_proj.weight") == (192, 96)
    assert shape(config, "model.layers.0.self_attn.k_proj.weight") == (64, 96)


def test_null_key_value_heads_are_as_many_as_heads_and_missing_ones_the_classs_own() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    config["model_type"] = "qwen2"
    name = "model.layers.0.self_attn.k_proj.weight"
    assert shape(config | {"num_key_value_heads": None}, name) == (96, 96)
    assert shape(config, name) == (32 * 16, 96)


def test_gpt2_takes_four_times_hidden_where_n_inner_is_null() -> None:
    config = {"model_type": "gpt2", "n_embd": 48, "n_inner": None, "n_layer": 1, "n_head": 4}
    assert shape(config, "transformer.h.0.mlp.c_fc.weight") == (48, 192)


def test_a_config_may_call_keys_as_transformers_does_in_every_class() -> None:
    config = {"model_type": "gpt2", "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    assert shape(config, "transformer.h.0.attn.c_attn.weight") == (48, 144)


def weights(shapes: dict[str, tuple[int, ...]], dtype: str = "BF16") -> Weights:
    return Weights(tensors=tensors(shapes, dtype), files=("model.safetensors",))


def test_layers_come_in_the_models_order_with_their_sizes() -> None:
    layers = place(LLAMA, weights(llama_shapes())).structure.layers
    assert len(layers) == 14
    assert [(layer.name, layer.in_features, layer.out_features) for layer in layers[7:]] == [
        ("model.layers.1.self_attn.k_proj", 96, 32),
        ("model.layers.1.self_attn.q_proj", 96, 96),
        ("model.layers.1.self_attn.v_proj", 96, 32),
        ("model.layers.1.self_attn.o_proj", 96, 96),
        ("model.layers.1.mlp.gate_proj", 96, 160),
        ("model.layers.1.mlp.up_proj", 96, 160),
        ("model.layers.1.mlp.down_proj", 160, 96),
    ]


def test_a_checkpoint_may_lack_the_base_models_prefix() -> None:
    bare = {name.removeprefix("model."): shape for name, shape in llama_shapes().items()}
    found, whole = (place(LLAMA, weights(shapes)).structure.layers for shapes in (bare, llama_shapes()))
    assert [layer.name for layer in found] == [layer.name for layer in whole]
    assert [layer.tensor for layer in found] == [layer.tensor.removeprefix("model.") for layer in whole]


def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes() -> None:
    shapes = llama_shapes() | {"model.layers.1.mlp.up_proj.weight": (160, 95)}
    with pytest.raises(SourceError) as caught:
        place(LLAMA, weights(shapes))
    assert caught.value.message == (
        "model.safetensors: tensor model.layers.1.mlp.up_proj.weight has the shape [160, 95], "
        "config.json asks for [160, 96]"
    )
    assert caught.value.hint == "The safetensors files do not belong to this config.json."


def test_a_missing_tensor_is_named() -> None:
    shapes = llama_shapes()
    del shapes["model.layers.0.self_attn.q_proj.weight"]
    with pytest.raises(SourceError) as caught:
        place(LLAMA, weights(shapes))
    assert caught.value.message == (
        "the base model has no tensor model.layers.0.self_attn.q_proj.weight (shape [96, 96])"
    )


def test_weights_that_are_not_in_full_precision_are_refused() -> None:
    with pytest.raises(SourceError) as caught:
        place(LLAMA, weights(llama_shapes(), "F8_E4M3"))
    assert caught.value.message == (
        "model.safetensors: tensor model.embed_tokens.weight is F8_E4M3; "
        "quantizing starts from F32, F16, BF16"
    )
