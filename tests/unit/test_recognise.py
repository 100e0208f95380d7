"""What lies where a base model should be and is none is told by its name, with the next step."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize_lib.errors import SourceError
from quantize_lib.source import inspect
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import llama_shapes, write_model, write_shard

GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
LORA = {f"base_model.model.model.layers.0.self_attn.q_proj.lora_{ab}.weight": (4, 96) for ab in "AB"}
Change = Callable[[Path], object]


def told(folder: Path, *, allow_pickle: bool = False) -> SourceError:
    with pytest.raises(SourceError) as caught:
        inspect(ModelSpec(id="./mine", name="mine", local=folder, allow_pickle=allow_pickle), token=None)
    return caught.value


def adapter(folder: Path, base: object = "acme/base", peft_type: object = "LORA") -> None:
    described = {"peft_type": peft_type, "base_model_name_or_path": base, "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(described))
    write_shard(folder / "adapter_model.safetensors", LORA)


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


WEIGHTS = "model.safetensors"


@pytest.mark.parametrize("gone", [[WEIGHTS], [WEIGHTS, "config.json"]], ids=["config", "no config"])
def test_an_adapter_is_named_with_its_base_and_that_it_has_to_be_merged(
    tmp_path: Path, gone: list[str]
) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, *gone)
    adapter(folder)
    error = told(folder)
    assert error.message == "./mine is an adapter (`LORA`) for `acme/base`, not a whole model"
    assert error.hint is not None
    assert "merge_and_unload()" in error.hint


@pytest.mark.parametrize("described", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"peft_type": 3}'])
def test_an_adapter_that_does_not_describe_itself_is_still_one(tmp_path: Path, described: bytes) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    (folder / "adapter_config.json").write_bytes(described)
    assert told(folder).message == "./mine is an adapter, not a whole model"


def test_what_an_adapter_says_of_its_base_cannot_steer_a_terminal(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    adapter(folder, base="a\x1b[31m\nb" + "c" * 500)
    assert told(folder).message.isprintable()
    assert len(told(folder).message) < 200


def test_an_adapter_beside_a_whole_model_is_told_and_not_applied(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).notes == ()
    adapter(folder)
    facts = inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None)
    assert facts.notes == (
        "adapter_config.json lies beside the weights: the adapter for `acme/base` is not applied and "
        "does not "
        "travel; where the weights do not hold it yet, merge it first",
    )
    assert {info.file for info in facts.tensors.values()} == {WEIGHTS}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("x-Q4_K_M.gguf", "as GGUF alone (x-Q4_K_M.gguf), which cannot be read"),
        ("X.GGUF", "as GGUF alone (X.GGUF), which cannot be read"),
        (
            "consolidated-00001-of-00002.safetensors",
            "in their publisher's own layout alone (consolidated-00001",
        ),
        ("consolidated.safetensors", "in their publisher's own layout alone (consolidated.safetensors)"),
        ("consolidated.00.pth", "in their publisher's own layout alone (consolidated.00.pth)"),
        ("original/consolidated.00.pth", "in their publisher's own layout alone"),
        ("onnx/decoder_model.onnx", "as ONNX alone (onnx/decoder_model.onnx)"),
        ("tf_model.h5", "for TensorFlow alone (tf_model.h5)"),
        ("flax_model.msgpack", "for Flax alone (flax_model.msgpack)"),
        ("openvino_model.xml", "for OpenVINO alone"),
        ("model.mlpackage/Data/weights", "for Core ML alone"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "as the state of a distributed training alone"),
        ("weights.00.npz", "as NumPy arrays alone"),
        ("model.tar.gz", "in an archive alone"),
    ],
)
@pytest.mark.parametrize("gone", [[WEIGHTS], [WEIGHTS, "config.json"]], ids=["config", "no config"])
def test_weights_that_transformers_does_not_read_are_named_with_a_way_out(
    tmp_path: Path, gone: list[str], file: str, message: str
) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, *gone)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(GGUF)
    error = told(folder)
    assert error.message.startswith(f"./mine has its weights {message}")
    assert error.hint


@pytest.mark.parametrize("beside", ["x.gguf", "consolidated.safetensors", "onnx/model.onnx", "tf_model.h5"])
def test_other_forms_of_the_weights_beside_safetensors_are_nobodys_business(
    tmp_path: Path, beside: str
) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).write_bytes(GGUF)
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).notes == ()


@pytest.mark.parametrize(
    ("shards", "message", "hint"),
    [
        (
            ["model-00001-of-00001.safetensors"],
            "(model-00001-of-00001.safetensors)",
            "It is the only shard: rename it to model.safetensors.",
        ),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            "(model-00001-of-00002.safetensors)",
            "Fetch model.safetensors.index.json from where the shards come from, or save the model again "
            "with "
            "save_pretrained.",
        ),
        (
            ["model-00002-of-00003.safetensors"],
            "(model-00002-of-00003.safetensors)",
            "2 of 3 shards are missing as well; fetch the model again.",
        ),
    ],
)
def test_shards_without_an_index_are_named_with_what_is_missing(
    tmp_path: Path, shards: list[str], message: str, hint: str
) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    for shard in shards:
        write_shard(folder / shard, {"x": (2, 2)})
    (folder / "training_args.bin").write_bytes(b"\x80")
    error = told(folder)
    assert (
        error.message == f"./mine has shards {message}, but no model.safetensors.index.json that lists them"
    )
    assert error.hint == hint


def test_weights_under_another_name_are_named_with_the_right_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / WEIGHTS).rename(folder / "tiny-model.safetensors")
    error = told(folder)
    assert (
        error.message
        == "./mine has weights under another name than model.safetensors (tiny-model.safetensors)"
    )
    assert error.hint == "Rename it to model.safetensors."
    write_shard(folder / "model.fp16.safetensors", llama_shapes())
    assert "(model.fp16.safetensors and tiny-model.safetensors)" in told(folder).message


def test_an_adapter_under_another_name_is_known_by_its_tensors(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    write_shard(folder / "mine.safetensors", LORA)
    assert told(folder).message == "./mine is an adapter, not a whole model"


def test_quantized_weights_under_another_name_are_known_by_their_tensors(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    write_shard(
        folder / "gptq_model-4bit-128g.safetensors", {"a.qweight": (12, 96), "a.scales": (2, 96)}, "I32"
    )
    assert told(folder).message == (
        "./mine is already quantized (GPTQ): gptq_model-4bit-128g.safetensors holds a.qweight, I32"
    )


def test_an_adapter_in_a_folder_of_the_folder_is_pointed_to(tmp_path: Path) -> None:
    (folder := tmp_path / "mine" / "checkpoint-500").mkdir(parents=True)
    adapter(folder)
    assert told(tmp_path / "mine").hint == "Name that folder: ./mine/checkpoint-500"


@pytest.mark.parametrize("config", [True, False], ids=["config", "no config"])
def test_a_model_in_a_folder_of_the_folder_is_pointed_to(tmp_path: Path, *, config: bool) -> None:
    write_model(tmp_path / "mine" / "final")
    if config:
        (tmp_path / "mine" / "config.json").write_bytes((tmp_path / "mine/final/config.json").read_bytes())
    error = told(tmp_path / "mine")
    missing = "neither model.safetensors nor model.safetensors.index.json" if config else "no config.json"
    assert error.message == f"./mine has {missing}, but holds a folder with a model (final)"
    assert error.hint == "Name that folder: ./mine/final"


def test_the_hubs_cache_is_pointed_into(tmp_path: Path) -> None:
    write_model(tmp_path / "mine" / "snapshots" / "abc")
    assert told(tmp_path / "mine").hint == "Name that folder: ./mine/snapshots/abc"


def test_an_empty_folder_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".gitattributes").write_text("")
    (tmp_path / "mine" / ".git").mkdir()
    (tmp_path / "mine" / ".git" / "config.json").write_text("{}")
    assert told(tmp_path / "mine").message == f"./mine: {tmp_path / 'mine'} is empty"


def test_a_folder_that_only_lacks_its_config_is_told_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, "config.json")
    write_model(folder / "older")
    assert told(folder).message == f"./mine: {folder} has no config.json"


def test_names_of_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / WEIGHTS).rename(folder / "a\x1b[31mb.safetensors")
    assert told(folder).message.isprintable()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 1234567\n"


@pytest.mark.parametrize(
    "file",
    [
        *("config.json", "model.safetensors", "README.md", "tokenizer.json", "tokenizer.model"),
        *("tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE.pdf"),
        *("preprocessor_config.json", "additional_chat_templates/tool.jinja"),
    ],
)
def test_a_git_lfs_pointer_in_the_place_of_a_file_is_told(tmp_path: Path, file: str) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(POINTER)
    error = told(folder)
    assert error.message == f"./mine: {file} is a Git LFS pointer, not the file itself"
    assert error.hint == f"Run `git lfs pull` in {folder}."


def test_pointers_in_the_place_of_an_index_and_of_shards_are_counted(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", shards=3)
    (folder / "model-00002-of-00003.safetensors").write_bytes(POINTER)
    (folder / "model-00003-of-00003.safetensors").write_bytes(POINTER)
    assert told(folder).message == (
        "./mine: model-00002-of-00003.safetensors (and 1 more) is a Git LFS pointer, not the file itself"
    )
    (folder / "model.safetensors.index.json").write_bytes(POINTER)
    assert "(and 2 more)" in told(folder).message


def test_pickled_weights_may_be_pointers_too(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    without(folder, WEIGHTS)
    (folder / "pytorch_model.bin").write_bytes(POINTER)
    assert "pytorch_model.bin is a Git LFS pointer" in told(folder, allow_pickle=True).message


def test_a_card_that_lies_elsewhere_is_no_reason_to_refuse_a_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (tmp_path / "card.md").write_text("words about it " * 20)
    (folder / "README.md").symlink_to(tmp_path / "card.md")
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).layers


def test_pointers_in_the_place_of_files_that_are_not_used_do_no_harm(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    for name in ("consolidated.safetensors", "x.gguf", "pytorch_model.bin", "image.png", "code.py"):
        (folder / name).write_bytes(POINTER)
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).layers
