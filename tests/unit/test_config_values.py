"""Values of config.json: what cannot be is refused at once, what is ours to choose is not taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.config_values import check_values, run_config, value_notes, written_config
from quantize_lib.errors import SourceError
from quantize_lib.source import inspect
from quantize_lib.source.headers import INDEX
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.tidied import tidied
from tests.support.model_files import LLAMA, write_model

GPT2: dict[str, Any] = {"model_type": "gpt2", "n_embd": 96, "n_layer": 2, "n_head": 6, "vocab_size": 64}
WRITTEN: dict[str, Any] = {"dtype": "bfloat16", "model_class": "LlamaForCausalLM"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pad_token_id": 64},
            "pad_token_id is 64; 0 to 63 (the vocabulary has 64 tokens) or null is needed",
        ),
        (
            {"pad_token_id": -65},
            "pad_token_id is -65; 0 to 63 (the vocabulary has 64 tokens) or null is needed",
        ),
        ({"pad_token_id": "0"}, "pad_token_id is the text `0`; a whole number or null is needed"),
        ({"pad_token_id": 1.0}, "pad_token_id is 1.0; a whole number or null is needed"),
        ({"pad_token_id": True}, "pad_token_id is true; a whole number or null is needed"),
        (
            {"eos_token_id": "0"},
            "eos_token_id is the text `0`; a whole number or a list of them or null is needed",
        ),
        (
            {"eos_token_id": [0, "1"]},
            "eos_token_id is a list; a whole number or a list of them or null is needed",
        ),
        (
            {"rms_norm_eps": "1e-6"},
            "rms_norm_eps is the text `1e-6`; a number with a decimal point is needed",
        ),
        ({"rms_norm_eps": 1}, "rms_norm_eps is 1; a number with a decimal point is needed"),
        ({"attention_dropout": "0"}, "attention_dropout is the text `0`; a number or null is needed"),
        ({"use_cache": None}, "use_cache is nothing (null); true or false is needed"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is the text `no`; true or false is needed"),
        ({"vocab_size": 64.0}, "vocab_size is 64.0; a whole number is needed"),
        ({"hidden_act": ["silu"]}, "hidden_act is a list; text is needed"),
        ({"num_attention_heads": 7}, "num_attention_heads is 7; a divisor of hidden_size (96) is needed"),
        (
            {"num_key_value_heads": 4},
            "num_key_value_heads is 4; a divisor of num_attention_heads (6) is needed",
        ),
        ({"layer_types": "full"}, "layer_types is the text `full`; a list of texts is needed"),
        (
            {"layer_types": ["full_attention"]},
            "layer_types has 1 entries, but num_hidden_layers says 2 blocks",
        ),
        ({"hidden_act": "swishy"}, "hidden_act is `swishy`, which is no activation function of transformers"),
    ],
)
def test_what_cannot_be_is_refused_with_key_value_and_what_is_needed(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "config.json").write_text(json.dumps(LLAMA | change))
    with pytest.raises(SourceError) as caught:
        inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None)
    assert caught.value.message == f"config.json: {message}"
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        *({"pad_token_id": -1}, {"pad_token_id": 63}, {"pad_token_id": None}, {"eos_token_id": [0, 1]}),
        *({"eos_token_id": 100_000}, {"head_dim": None}, {"attention_dropout": 1}, {"pretraining_tp": 2}),
        *(
            {"architectures": None},
            {"return_dict": 0},
            {"chunk_size_feed_forward": None},
            {"hidden_act": "gelu"},
        ),
        *(
            {"layer_types": ["full_attention"] * 2},
            {"rms_norm_eps": float("nan")},
            {"layer_norm_eps": "no key of it"},
        ),
    ],
)
def test_what_transformers_takes_is_taken(change: dict[str, Any]) -> None:
    check_values(LLAMA | change)


def test_a_family_without_a_padding_index_takes_any_padding_token() -> None:
    check_values(GPT2 | {"pad_token_id": 50257})


def test_values_of_the_config_are_shown_safely() -> None:
    with pytest.raises(SourceError) as caught:
        check_values(LLAMA | {"rms_norm_eps": "\x1b[31m\n" + "9" * 500})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("change", "kept_in_file"),
    [
        ({"use_cache": False}, True),
        ({"output_attentions": True}, True),
        ({"output_hidden_states": True}, True),
        ({"torchscript": True}, True),
        ({"gradient_checkpointing": True}, True),
        ({"return_dict": False}, False),
        ({"_attn_implementation": "flash_attention_2"}, False),
        ({"attn_implementation": "kernels-community/flash-attn3"}, False),
        ({"_attn_implementation": {"": "flex_attention"}}, False),
        ({"compression_config": {"quant_method": "x"}}, False),
        ({"quantization": {"bits": 4}}, False),
    ],
)
def test_how_a_model_is_run_is_ours_to_choose_and_only_what_works_is_handed_on(
    change: dict[str, Any], *, kept_in_file: bool
) -> None:
    assert run_config(LLAMA | change) == LLAMA
    assert written_config(LLAMA | change, **WRITTEN) == (LLAMA | change if kept_in_file else LLAMA)


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        LLAMA
        | {"use_cache": True, "return_dict": True, "torch_dtype": "bfloat16", "quantization_config": None},
        LLAMA | {"_attn_implementation": "eager", "attn_implementation": "sdpa", "dtype": None},
        LLAMA | {"_attn_implementation_autoset": True, "auto_map": {}, "max_window": float("inf")},
    ],
)
def test_a_config_without_such_values_is_written_as_it_is(config: dict[str, Any]) -> None:
    assert list(written_config(config, **WRITTEN).items()) == list(config.items())
    assert value_notes(config) == ()


@pytest.mark.parametrize("dtype", ["bf16", "auto", "float8_e4m3fn", "torch.bfloat16", 3])
def test_a_dtype_that_no_weights_have_gives_way_to_that_of_the_tensors(dtype: object) -> None:
    config = LLAMA | {"torch_dtype": dtype}
    assert written_config(config, **WRITTEN)["torch_dtype"] == "bfloat16"
    assert "torch_dtype" not in run_config(config)
    (note,) = value_notes(config)
    assert note.startswith("config.json says torch_dtype: ")


@pytest.mark.parametrize("classes", [None, [], ["LlamaModel"], 3])
def test_the_class_comes_from_the_model_type_where_the_file_names_none(classes: object) -> None:
    written = written_config(LLAMA | {"architectures": classes}, **WRITTEN)
    assert written["architectures"] == ["LlamaForCausalLM"]


def test_a_model_whose_config_says_nothing_of_ours_is_seen_as_it_is(tmp_path: Path) -> None:
    model = write_model(tmp_path / "mine")
    with tidied(model, tmp_path / "out") as seen:
        assert seen is model
    assert not (tmp_path / "out").exists()


def test_libraries_see_a_config_without_what_is_ours_and_every_other_file(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", LLAMA | {"use_cache": False})
    (folder / "additional_chat_templates").mkdir()
    with tidied(folder, tmp_path / "out") as seen:
        assert seen.name == "mine"
        assert json.loads((seen / "config.json").read_text()) == LLAMA
        assert {path.name for path in seen.iterdir()} == {path.name for path in folder.iterdir()}
        weights = "model.safetensors"
        assert (seen / weights).read_bytes() == (folder / weights).read_bytes()
    assert json.loads((folder / "config.json").read_text())["use_cache"] is False
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_without_a_config_is_left_to_who_reads_it(tmp_path: Path) -> None:
    with tidied(tmp_path, tmp_path / "out") as seen:
        assert seen == tmp_path


def test_libraries_do_not_see_an_adapter_beside_the_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "adapter_config.json").write_text("{}")
    with tidied(folder, tmp_path / "out") as seen:
        assert {path.name for path in seen.iterdir()} == {path.name for path in folder.iterdir()} - {
            "adapter_config.json"
        }


def test_a_byte_order_mark_in_front_of_the_config_is_read_over(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text("\ufeff" + text, encoding="utf-8")
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).config == LLAMA
    with tidied(folder, tmp_path / "out") as seen:
        assert json.loads((seen / "config.json").read_text(encoding="utf-8")) == LLAMA


@pytest.mark.parametrize("more", [{}, {"metadata": None}, {"metadata": {}, "needless": True}])
def test_libraries_see_an_index_with_metadata_and_without_files_that_are_not_there(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    folder = write_model(tmp_path / "mine", shards=2)
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    needless = {"mtp.fc.weight": "gone.safetensors"} if more.pop("needless", False) else {}
    (folder / INDEX).write_text(json.dumps({"weight_map": index | needless, **more}))
    with tidied(folder, tmp_path / "out") as seen:
        assert json.loads((seen / INDEX).read_text()) == {"metadata": {}, "weight_map": index}
        assert (seen / "config.json").is_symlink()
