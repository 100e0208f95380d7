"""Every tensor of a model's files has a place in its class, or is told of, or the model is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.group_sizes import resolve_group_size
from quantize_lib.architecture.placing import Placed, place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.methods import Settings
from tests.support.model_files import LLAMA, llama_shapes

Shapes = dict[str, tuple[int, ...]]
FILE = "model.safetensors"
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 32,
    "vocab_size": 50,
}
NEOX: dict[str, Any] = {
    "model_type": "gpt_neox",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def gpt2_shapes() -> Shapes:
    shapes: Shapes = {"transformer.wte.weight": (50, 64), "transformer.wpe.weight": (32, 64)}
    for norm in ("h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"):
        shapes |= {f"transformer.{norm}.{leaf}": (64,) for leaf in ("weight", "bias")}
    for block in range(2):
        for name, inputs, outputs in (
            ("attn.c_attn", 64, 192),
            ("attn.c_proj", 64, 64),
            ("mlp.c_fc", 64, 256),
            ("mlp.c_proj", 256, 64),
        ):
            shapes[f"transformer.h.{block}.{name}.weight"] = (inputs, outputs)
            shapes[f"transformer.h.{block}.{name}.bias"] = (outputs,)
    return shapes


def neox_shapes() -> Shapes:
    shapes: Shapes = {"gpt_neox.embed_in.weight": (50, 64), "embed_out.weight": (50, 64)}
    for norm in (
        *(f"layers.{block}.{norm}" for block in range(2) for norm in ("input_", "post_attention_")),
        "final_layer_norm",
    ):
        module = norm + "layernorm" if norm.endswith("_") else norm
        shapes |= {f"gpt_neox.{module}.{leaf}": (64,) for leaf in ("weight", "bias")}
    for block in range(2):
        for name, inputs, outputs in (
            ("attention.query_key_value", 64, 192),
            ("attention.dense", 64, 64),
            ("mlp.dense_h_to_4h", 64, 96),
            ("mlp.dense_4h_to_h", 96, 64),
        ):
            shapes[f"gpt_neox.layers.{block}.{name}.weight"] = (outputs, inputs)
            shapes[f"gpt_neox.layers.{block}.{name}.bias"] = (outputs,)
    return shapes


def biases(*layers: str, blocks: int = 2) -> Shapes:
    """The biases of a Llama's layers."""
    shapes = llama_shapes()
    names = [f"model.layers.{block}.{layer}" for block in range(blocks) for layer in layers]
    return {f"{name}.bias": shapes[f"{name}.weight"][:1] for name in names}


def files(shapes: Shapes, dtypes: Mapping[str, str] | None = None) -> Weights:
    tensors = {
        name: TensorInfo(name=name, dtype=(dtypes or {}).get(name, "BF16"), shape=shape, file=FILE)
        for name, shape in shapes.items()
    }
    return Weights(tensors=tensors, files=(FILE,))


def placed(shapes: Shapes, config: Mapping[str, Any] = LLAMA) -> Placed:
    return place(config, files(shapes))


def error_of(weights: Weights | Shapes, config: Mapping[str, Any] = LLAMA) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        place(config, files(weights) if isinstance(weights, dict) else weights)
    return caught.value.message, str(caught.value.hint)


def without(shapes: Shapes, *names: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name not in names}


@pytest.mark.parametrize(
    ("config", "shapes"), [(LLAMA, llama_shapes()), (GPT2, gpt2_shapes()), (NEOX, neox_shapes())]
)
def test_a_model_whose_files_are_what_its_class_loads_gives_no_note(
    config: Mapping[str, Any], shapes: Shapes
) -> None:
    found = placed(shapes, config)
    assert found.notes == ()
    assert list(found.tensors) == list(shapes)


@pytest.mark.parametrize(
    "name",
    ["model.layers.1.input_layernorm.weight", "model.norm.weight", "model.layers.0.mlp.up_proj.weight"],
)
def test_a_missing_tensor_of_any_kind_is_found_in_the_headers(name: str) -> None:
    message, hint = error_of(without(llama_shapes(), name))
    assert message == f"the base model has no tensor {name} (shape {list(llama_shapes()[name])})"
    assert hint == "The safetensors files do not belong to this config.json."


def test_a_bias_that_the_config_asks_for_is_missed() -> None:
    message, _ = error_of(llama_shapes(), LLAMA | {"attention_bias": True})
    assert message == "the base model has no tensor model.layers.0.self_attn.q_proj.bias (shape [96])"


def test_a_bias_that_the_config_asks_for_has_a_place() -> None:
    more = biases("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    found = placed(llama_shapes() | more, LLAMA | {"attention_bias": True})
    assert found.notes == ()
    assert more.keys() <= found.tensors.keys()


def test_a_norm_of_another_shape_is_named_with_both_shapes() -> None:
    message, _ = error_of(llama_shapes() | {"model.norm.weight": (95,)})
    assert message == f"{FILE}: tensor model.norm.weight has the shape [95], config.json asks for [96]"


def test_a_position_table_of_another_length_is_named() -> None:
    message, _ = error_of(gpt2_shapes(), GPT2 | {"n_positions": 16})
    assert message == (
        f"{FILE}: tensor transformer.wpe.weight has the shape [32, 64], config.json asks for [16, 64]"
    )


def test_a_norm_that_is_not_in_full_precision_is_refused() -> None:
    message, _ = error_of(files(llama_shapes(), {"model.norm.weight": "F64"}))
    assert message == f"{FILE}: tensor model.norm.weight is F64; quantizing starts from F32, F16, BF16"


def test_one_tensor_under_two_names_is_refused() -> None:
    message, hint = error_of(llama_shapes() | {"norm.weight": (96,)})
    assert message == f"{FILE}: model.norm.weight and norm.weight are both model.norm.weight to transformers"
    assert hint == "Remove the one that is not meant."


@pytest.mark.parametrize(
    ("layers", "key"),
    [
        (("self_attn.q_proj",), "attention_bias: true"),
        (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"), "attention_bias"),
        (("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"), "mlp_bias: true"),
        (("self_attn.o_proj", "mlp.down_proj"), "attention_bias: true and mlp_bias: true"),
    ],
)
def test_a_bias_that_the_config_forgets_is_refused_with_the_key(layers: tuple[str, ...], key: str) -> None:
    message, hint = error_of(llama_shapes() | biases(*layers))
    assert message.startswith(
        f"{FILE} holds {2 * len(layers)} tensors that a llama with this config.json does not load, and "
        f"that change what it computes: `model.layers.*.{layers[0]}.bias`"
    )
    assert f"config.json probably has to say {key}" in hint


@pytest.mark.parametrize(
    ("more", "model_type"),
    [
        ({"model.layers.0.self_attn.q_norm.weight": (16,)}, "qwen3"),
        (biases("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "qwen2"),
        (
            {
                f"model.layers.{block}.{side}_feedforward_layernorm.weight": (96,)
                for block in range(2)
                for side in ("pre", "post")
            },
            "gemma2",
        ),
    ],
)
def test_a_model_with_the_config_of_another_is_recognized(more: Shapes, model_type: str) -> None:
    message, hint = error_of(llama_shapes() | more)
    assert "that a llama with this config.json does not load" in message
    assert hint == (
        f"They are what a {model_type} has: model_type and architectures of config.json are probably another "
        "model's."
    )


def test_a_class_without_a_key_for_biases_is_told_one_that_has_it() -> None:
    config = LLAMA | {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    _, hint = error_of(llama_shapes() | biases("self_attn.q_proj"), config)
    assert hint.startswith("They are what a ")


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.sinks",
        "model.layers.1.mlp.gate.weight",
        "model.layers.x.mlp.up_proj.weight",
        "model.norm.bias",
        "model.embed_norm.weight",
        "model.embed_tokens.scale",
        "model.layers.0.self_attn.k_scale",
        "model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "lm_head.bias",
    ],
)
def test_what_belongs_in_the_model_is_refused_whatever_it_is(name: str) -> None:
    message, hint = error_of(llama_shapes() | {name: (96,)})
    assert message.startswith(f"{FILE} holds 1 tensor that a llama with this config.json does not load, and ")
    assert message.endswith(f"that changes what it computes: `{name}`")
    assert hint != "None"


@pytest.mark.parametrize("ending", ["weight_scale_inv", "weight_scale", "scales", "SCB", "weight.absmax"])
def test_scales_beside_full_precision_weights_are_told_and_left_out(ending: str) -> None:
    found = placed(
        llama_shapes() | {f"model.layers.{block}.mlp.up_proj.{ending}": (1, 1) for block in range(2)}
    )
    assert found.tensors.keys() == llama_shapes().keys()
    assert found.notes == (
        "2 tensors of a quantized form of the weights, which are in full precision here, are left out, as "
        f"transformers does not load them: `model.layers.*.mlp.up_proj.{ending}`",
    )


@pytest.mark.parametrize(
    "name",
    [
        "mtp.fc.weight",
        "model.mtp.layers.0.mlp.up_proj.weight",
        "model.vision_tower.encoder.layers.0.fc1.bias",
        "visual.blocks.3.attn.qkv.weight",
        "model.multi_modal_projector.linear_1.weight",
        "score.weight",
        "v_head.summary.bias",
    ],
)
def test_what_stands_beside_the_model_is_told_and_copied(name: str) -> None:
    found = placed(llama_shapes() | {name: (4, 4)})
    assert [info.name for info in found.copied] == [name]
    assert found.tensors.keys() == llama_shapes().keys()
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        "1 tensor beside the language model is copied unchanged, though transformers does not load it: `"
    )


def test_what_a_class_of_the_models_own_loads_is_not_judged_beforehand() -> None:
    weights = files(without(llama_shapes(), "model.norm.weight") | {"model.layers.0.own.weight": (7,)})
    found = place(LLAMA, weights, own_class=True)
    assert (found.tensors, found.notes) == (weights.tensors, ())
    with pytest.raises(SourceError, match=r"has no tensor model\.layers\.0\.mlp\.up_proj\.weight"):
        place(LLAMA, files(without(llama_shapes(), "model.layers.0.mlp.up_proj.weight")), own_class=True)


def test_what_is_left_out_may_be_named_among_what_is_not_converted() -> None:
    found = placed(llama_shapes() | {"mtp.fc.weight": (4, 4)})
    assert found.strays == ("mtp.fc.weight",)
    facts = Architecture(
        config=LLAMA, tensors=found.tensors, layers=found.structure.layers, strays=found.strays
    )
    kept = Settings(method="bitsandbytes", bits=8, modules_to_not_convert=("mtp.*",))
    assert resolve_group_size(facts, kept) == -1


def test_blocks_beyond_the_configs_number_are_told_and_copied() -> None:
    found = placed(llama_shapes(LLAMA | {"num_hidden_layers": 4}))
    assert found.tensors.keys() == llama_shapes().keys()
    assert found.notes == (
        "18 tensors of blocks beyond the 2 of config.json (num_hidden_layers) are copied unchanged, though "
        "transformers does not load them: `model.layers.2` and `model.layers.3`",
    )
    assert len(found.copied) == 18


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_the_masks_of_an_old_gpt2_are_told_and_left_out(prefix: str) -> None:
    shapes = {name.removeprefix("transformer."): shape for name, shape in gpt2_shapes().items()}
    masks: Shapes = {f"h.{block}.attn.bias": (1, 1, 32, 32) for block in range(2)}
    found = placed({prefix + name: shape for name, shape in (shapes | masks).items()}, GPT2)
    assert len(found.tensors) == len(shapes)
    assert found.copied == ()
    assert found.notes == (
        "2 tensors that older versions of transformers stored are left out, as transformers does not load "
        f"them: `{prefix}h.*.attn.bias`",
    )


@pytest.mark.parametrize("name", ["ln_3.weight", "h.0.attn.q_attn.weight", "h.0.attn.c_attn.scale"])
def test_what_belongs_in_a_model_without_prefix_is_refused_too(name: str) -> None:
    shapes = {name.removeprefix("transformer."): shape for name, shape in gpt2_shapes().items()}
    message, _ = error_of(shapes | {name: (64,)}, GPT2)
    assert "holds 1 tensor that a gpt2 with this config.json does not load" in message


def test_the_buffers_of_old_checkpoints_are_told_once() -> None:
    more: Shapes = {}
    for block in range(2):
        more[f"gpt_neox.layers.{block}.attention.bias"] = (1, 1, 32, 32)
        more[f"gpt_neox.layers.{block}.attention.masked_bias"] = ()
        more[f"gpt_neox.layers.{block}.attention.rotary_emb.inv_freq"] = (8,)
    found = placed(neox_shapes() | more, NEOX)
    assert found.tensors.keys() == neox_shapes().keys()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("6 tensors that older versions of transformers stored are left out")


def test_a_name_from_the_file_cannot_steer_the_terminal_or_fill_it() -> None:
    found = placed(llama_shapes() | {f"mtp.{'x' * 500}.weight": (1,)})
    assert len(found.notes[0]) < 300


class TestHead:
    def test_a_tied_model_may_hold_the_head_alone(self) -> None:
        shapes = without(llama_shapes(), EMBEDDING)
        found = placed(shapes, LLAMA | {"tie_word_embeddings": True})
        assert found.tensors.keys() == shapes.keys()
        assert found.notes == ()

    def test_a_tied_model_by_its_class_too(self) -> None:
        shapes = without(gpt2_shapes(), "transformer.wte.weight") | {HEAD: (50, 64)}
        assert placed(shapes, GPT2).tensors.keys() == shapes.keys()

    def test_of_a_tied_model_one_of_the_two_has_to_be_there(self) -> None:
        message, _ = error_of(without(llama_shapes(), EMBEDDING, HEAD), LLAMA | {"tie_word_embeddings": True})
        assert message == f"the base model has no tensor {EMBEDDING} (shape [64, 96])"

    def test_an_untied_model_needs_the_embedding_as_well(self) -> None:
        message, _ = error_of(without(llama_shapes(), EMBEDDING))
        assert message == f"the base model has no tensor {EMBEDDING} (shape [64, 96])"

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({"tie_word_embeddings": False}, "config.json says tie_word_embeddings: false"),
            ({}, "config.json does not say tie_word_embeddings, and a llama is not tied without it"),
        ],
    )
    def test_an_untied_model_without_a_head_is_refused_with_that_reason(
        self, config: dict[str, Any], said: str
    ) -> None:
        message, hint = error_of(without(llama_shapes(), HEAD), LLAMA | config)
        assert message == (
            f"the base model has no tensor {HEAD}, and {said}: transformers would make up a random head"
        )
        assert "tie_word_embeddings: true" in hint

    def test_a_class_that_is_tied_can_be_untied_by_the_config(self) -> None:
        message, _ = error_of(gpt2_shapes(), GPT2 | {"tie_word_embeddings": False})
        assert "config.json says tie_word_embeddings: false" in message

    def test_a_tied_model_with_both_is_to_be_looked_at(self) -> None:
        found = placed(llama_shapes(), LLAMA | {"tie_word_embeddings": True})
        assert found.tensors.keys() == llama_shapes().keys()
        assert len(found.notes) == 1
        assert f"{HEAD} stands beside {EMBEDDING}" in found.notes[0]

    def test_a_head_of_another_shape_than_the_embedding_is_named(self) -> None:
        message, _ = error_of(llama_shapes() | {HEAD: (65, 96)}, LLAMA | {"tie_word_embeddings": True})
        assert message == f"{FILE}: tensor {HEAD} has the shape [65, 96], config.json asks for [64, 96]"

    def test_a_head_under_an_old_name_is_the_head(self) -> None:
        message, _ = error_of(neox_shapes() | {HEAD: (50, 64)}, NEOX)
        assert message == f"{FILE}: embed_out.weight and {HEAD} are both {HEAD} to transformers"


class TestIndex:
    def test_a_tensor_that_the_index_lists_and_the_model_needs_is_missed_by_its_shard(self) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        weights = files(without(llama_shapes(), name))
        absent = replace(weights, index="the.index.json", absent={name: "two.safetensors"})
        message, hint = error_of(absent)
        assert (
            message == f"the.index.json says that two.safetensors holds the tensor {name}, but no shard does"
        )
        assert hint == "The index and the shards do not belong together; fetch the base model again."

    def test_notes_on_the_files_come_first(self) -> None:
        weights = files(llama_shapes() | {"mtp.fc.weight": (1,)})
        noted = Weights(tensors=weights.tensors, files=weights.files, notes=("of the index",))
        assert place(LLAMA, noted).notes[0] == "of the index"
        assert len(place(LLAMA, noted).notes) == 2
