from __future__ import annotations

from typing import Any

import pytest

from quantize_lib.architecture.families import check_head, get_family, sizes
from quantize_lib.architecture.family_table import FAMILIES
from quantize_lib.architecture.layers import find_layers
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from tests.support.model_files import LLAMA, llama_shapes

SUPPORTED = "gemma2, gpt2, gpt_neox, llama, mistral, opt, phi3, qwen2, qwen3"


def tensors(shapes: dict[str, tuple[int, ...]], dtype: str = "BF16") -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name=name, dtype=dtype, shape=shape, file="model.safetensors")
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8},
            "MixtralForCausalLM (mixtral) is a mixture of experts (num_local_experts: 8); "
            "these cannot be quantized yet, they come later",
        ),
        (
            {"model_type": "qwen3_moe"},
            "the architecture qwen3_moe is a mixture of experts; "
            "these cannot be quantized yet, they come later",
        ),
        (
            {"model_type": "unheard_of", "n_routed_experts": 64},
            "the architecture unheard_of is a mixture of experts (n_routed_experts: 64); "
            "these cannot be quantized yet, they come later",
        ),
        (
            {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]},
            "Qwen2VLForConditionalGeneration (qwen2_vl) is a vision-language or audio model; "
            "these cannot be quantized yet, they come later",
        ),
        (
            {"model_type": "new_vlm", "vision_config": {"hidden_size": 8}},
            "the architecture new_vlm is a vision-language or audio model; "
            "these cannot be quantized yet, they come later",
        ),
        (
            {
                "model_type": "t5",
                "architectures": ["T5ForConditionalGeneration"],
                "is_encoder_decoder": True,
            },
            "T5ForConditionalGeneration (t5) is an encoder-decoder model; only decoders can be quantized",
        ),
        (
            {"model_type": "mamba", "architectures": ["MambaForCausalLM"]},
            "MambaForCausalLM (mamba) is not supported",
        ),
        (
            {"model_type": "x\n::error::y", "architectures": 3},
            "the architecture x::error::y is not supported",
        ),
        ({}, "config.json says no model_type, so the architecture is unknown"),
    ],
)
def test_what_is_not_supported_is_named_with_what_is(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError) as caught:
        get_family(config)
    assert caught.value.message == message
    assert caught.value.hint is not None
    assert SUPPORTED in caught.value.hint


def test_a_classifier_of_a_supported_family_is_refused() -> None:
    names = [name for name in llama_shapes() if name != "lm_head.weight"]
    with pytest.raises(SourceError, match="is not a causal language model"):
        check_head(LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, [*names, "score.weight"])


@pytest.mark.parametrize("classes", [None, [], ["LlamaModel"], ["LlamaForSequenceClassification"], 3])
def test_a_model_with_the_head_of_a_language_model_is_one_whatever_it_is_called(classes: object) -> None:
    config = LLAMA | {"architectures": classes}
    assert get_family(config) is FAMILIES["llama"]
    check_head(config, llama_shapes())


@pytest.mark.parametrize("experts", [0, 1, None, False])
def test_a_dense_model_may_say_that_it_has_no_experts(experts: object) -> None:
    assert get_family(LLAMA | {"num_experts": experts}) is FAMILIES["llama"]


@pytest.mark.parametrize("value", ["96", 0, -1, True, 1 << 40, 1.5])
def test_a_size_that_is_no_sensible_number_is_named(value: object) -> None:
    with pytest.raises(SourceError) as caught:
        sizes(FAMILIES["llama"], LLAMA | {"hidden_size": value})
    assert caught.value.message == (
        f"config.json: hidden_size is {str(value)!r}; a positive whole number is needed"
    )


def test_a_missing_size_is_named() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
    with pytest.raises(SourceError, match="num_hidden_layers is missing"):
        sizes(FAMILIES["llama"], config)


def test_more_blocks_than_any_model_has_are_refused() -> None:
    with pytest.raises(SourceError, match="num_hidden_layers is '1000000'"):
        sizes(FAMILIES["llama"], LLAMA | {"num_hidden_layers": 1_000_000})


def test_head_dim_and_fewer_key_value_heads_count() -> None:
    found = sizes(FAMILIES["qwen3"], LLAMA | {"head_dim": 32})
    assert (found["q"], found["kv"], found["qkv"]) == (192, 64, 320)


def test_null_key_value_heads_are_as_many_as_heads_and_missing_ones_the_classs_own() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert sizes(FAMILIES["qwen2"], config | {"num_key_value_heads": None})["kv"] == 96
    assert sizes(FAMILIES["qwen2"], config)["kv"] == 32 * 16


def test_gpt2_takes_four_times_hidden_where_n_inner_is_null() -> None:
    config = {"n_embd": 48, "n_inner": None, "n_layer": 1, "n_head": 4}
    assert sizes(FAMILIES["gpt2"], config)["mlp"] == 192


def test_layers_come_in_the_models_order_with_their_sizes() -> None:
    layers = find_layers(LLAMA, tensors(llama_shapes()))
    assert len(layers) == 14
    assert [(layer.name, layer.in_features, layer.out_features) for layer in layers[7:]] == [
        ("model.layers.1.self_attn.q_proj", 96, 96),
        ("model.layers.1.self_attn.k_proj", 96, 32),
        ("model.layers.1.self_attn.v_proj", 96, 32),
        ("model.layers.1.self_attn.o_proj", 96, 96),
        ("model.layers.1.mlp.gate_proj", 96, 160),
        ("model.layers.1.mlp.up_proj", 96, 160),
        ("model.layers.1.mlp.down_proj", 160, 96),
    ]


def test_a_checkpoint_may_lack_the_base_models_prefix() -> None:
    bare = {name.removeprefix("model."): shape for name, shape in llama_shapes().items()}
    assert find_layers(LLAMA, tensors(bare)) == find_layers(LLAMA, tensors(llama_shapes()))


def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes() -> None:
    shapes = llama_shapes() | {"model.layers.1.mlp.up_proj.weight": (160, 95)}
    with pytest.raises(SourceError) as caught:
        find_layers(LLAMA, tensors(shapes))
    assert caught.value.message == (
        "model.safetensors: tensor model.layers.1.mlp.up_proj.weight has the shape [160, 95], "
        "config.json asks for [160, 96]"
    )
    assert caught.value.hint == "The safetensors files do not belong to this config.json."


def test_a_missing_tensor_is_named() -> None:
    shapes = llama_shapes()
    del shapes["model.layers.0.self_attn.q_proj.weight"]
    with pytest.raises(SourceError) as caught:
        find_layers(LLAMA, tensors(shapes))
    assert caught.value.message == (
        "the base model has no tensor model.layers.0.self_attn.q_proj.weight (shape [96, 96])"
    )


def test_weights_that_are_not_in_full_precision_are_refused() -> None:
    with pytest.raises(SourceError) as caught:
        find_layers(LLAMA, tensors(llama_shapes(), "F8_E4M3"))
    assert caught.value.message == (
        "model.safetensors: tensor model.embed_tokens.weight is F8_E4M3; "
        "quantizing starts from F32, F16, BF16"
    )
