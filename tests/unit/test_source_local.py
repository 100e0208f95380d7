from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.errors import SourceError
from quantize_lib.source import base_card, fetch, inspect, side_files
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import LLAMA, write_model, write_shard


def spec(folder: Path, *, trust_remote_code: bool = False, allow_pickle: bool = False) -> ModelSpec:
    return ModelSpec(
        id="./mine",
        name="mine",
        local=folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


def error_of(folder: Path, *, allow_pickle: bool = False) -> SourceError:
    with pytest.raises(SourceError) as caught:
        inspect(spec(folder, allow_pickle=allow_pickle), token=None)
    return caught.value


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mine")


def test_a_single_file_and_shards_give_the_same_facts(tmp_path: Path, model: Path) -> None:
    one = inspect(spec(model), token=None)
    two = inspect(spec(write_model(tmp_path / "sharded", shards=3)), token=None)
    assert one.layers == two.layers
    assert one.config == LLAMA
    assert {name: (t.dtype, t.shape) for name, t in one.tensors.items()} == {
        name: (t.dtype, t.shape) for name, t in two.tensors.items()
    }
    assert one.weight_bytes == (model / "model.safetensors").stat().st_size
    assert one.download_bytes == 0


def test_the_revision_is_a_hash_of_what_decides_the_result(tmp_path: Path, model: Path) -> None:
    first = inspect(spec(model), token=None).revision
    assert first.startswith("sha256:")
    copy = write_model(tmp_path / "copy")
    (copy / "README.md").write_text("words about it")
    (copy / "helper.py").write_text("code that is not run")
    assert inspect(spec(copy), token=None).revision == first
    assert inspect(spec(copy, trust_remote_code=True), token=None).revision != first
    (copy / "tokenizer.json").write_text('{"changed": 1}')
    assert inspect(spec(copy), token=None).revision != first


def test_one_changed_weight_changes_the_revision(model: Path) -> None:
    first = inspect(spec(model), token=None).revision
    shard = model / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert inspect(spec(model), token=None).revision != first


def test_no_such_folder(tmp_path: Path) -> None:
    error = error_of(tmp_path / "gone")
    assert error.message == f"./mine: there is no such folder ({tmp_path / 'gone'})"
    assert error.hint == "Paths in a manifest are relative to the manifest."


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert (
        error_of(tmp_path / "mine").message == f"./mine: {tmp_path / 'mine'} is a file; a model is a folder"
    )


def test_a_folder_without_config(model: Path) -> None:
    (model / "config.json").unlink()
    assert error_of(model).message == f"./mine: {model} has no config.json"


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_json_object(model: Path, text: bytes) -> None:
    (model / "config.json").write_bytes(text)
    assert error_of(model).message.startswith("config.json ")


def test_a_folder_without_safetensors(model: Path) -> None:
    (model / "model.safetensors").unlink()
    error = error_of(model)
    assert error.message == "./mine has neither model.safetensors nor model.safetensors.index.json"


def test_pickled_weights_are_refused_with_a_way_out(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    error = error_of(model)
    assert error.message == (
        "./mine has pickled weights alone (pytorch_model.bin); reading them can run foreign code"
    )
    assert error.hint is not None
    assert "allow_pickle: true" in error.hint


def test_allowed_pickled_weights_are_known_from_the_config_alone(model: Path) -> None:
    expected = inspect(spec(model), token=None)
    (model / "model.safetensors").unlink()
    # Nothing of it is read: these are no bytes of a pickle.
    (model / "pytorch_model.bin").write_bytes(b"\x80 never looked at")
    facts = inspect(spec(model, allow_pickle=True), token=None)
    assert facts.layers == expected.layers
    assert facts.weight_bytes == (model / "pytorch_model.bin").stat().st_size
    for name, assumed in facts.tensors.items():
        assert assumed.shape == expected.tensors[name].shape
    assert facts.tensors.keys() == expected.tensors.keys()
    (model / "pytorch_model.bin").write_bytes(b"\x80 something else")
    assert inspect(spec(model, allow_pickle=True), token=None).revision != facts.revision


def test_pickled_shards_are_what_their_index_names(model: Path) -> None:
    names = list(inspect(spec(model), token=None).tensors)
    (model / "model.safetensors").unlink()
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    weight_map = {name: files[number % 2] for number, name in enumerate(names)}
    index = model / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (model / files[0]).write_bytes(b"12")
    assert error_of(model, allow_pickle=True).message == (
        f"pytorch_model.bin.index.json names {files[1]}, but {model} does not hold it"
    )
    (model / files[1]).write_bytes(b"345")
    facts = inspect(spec(model, allow_pickle=True), token=None)
    assert {name: info.file for name, info in facts.tensors.items()} == weight_map
    assert facts.weight_bytes == 5
    index.write_text(json.dumps({"weight_map": {"w": "../pytorch_model.bin"}}))
    assert "never a path" in str(error_of(model, allow_pickle=True).hint)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("unlisted", ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"])
def test_pickled_shards_may_hold_more_than_their_index_lists(model: Path, unlisted: str, tied: bool) -> None:
    names = [name for name in inspect(spec(model), token=None).tensors if name != unlisted]
    (model / "model.safetensors").rename(model / "pytorch_model-1.bin")
    (model / "config.json").write_text(json.dumps(LLAMA | {"tie_word_embeddings": tied}))
    index = {"weight_map": dict.fromkeys(names, "pytorch_model-1.bin")}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    facts = inspect(spec(model, allow_pickle=True), token=None)
    assert len(facts.layers) == 14
    assert (unlisted in facts.tensors) == (not tied or "norm" in unlisted)


def test_pickles_that_transformers_does_not_read_are_refused_also_where_pickles_are_allowed(
    model: Path,
) -> None:
    (model / "model.safetensors").rename(model / "weights.00.pth")
    assert error_of(model, allow_pickle=True).message == (
        "./mine has neither safetensors nor pytorch_model.bin, but weights.00.pth, which cannot be read"
    )


def test_safetensors_are_taken_where_both_are_there(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"not looked at")
    facts = inspect(spec(model, allow_pickle=True), token=None)
    assert {info.file for info in facts.tensors.values()} == {"model.safetensors"}


def test_a_shard_that_the_index_names_is_missing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    first = next(name for name, file in index.items() if file == "model-00002-of-00002.safetensors")
    error = error_of(folder)
    assert error.message == (
        "model.safetensors.index.json names model-00002-of-00002.safetensors, which is not there, "
        f"and the model needs its {first}"
    )
    assert error.hint == "The model is incomplete: fetch it again, or choose another revision."


def test_a_missing_shard_that_the_model_needs_nothing_of_is_told(model: Path) -> None:
    weight_map = dict.fromkeys(inspect(spec(model), token=None).tensors, "all.safetensors")
    (model / "model.safetensors").rename(model / "all.safetensors")
    more = dict.fromkeys(("mtp.fc.weight", "mtp.x"), "gone.safetensors")
    index: dict[str, Any] = {"metadata": {}, "weight_map": weight_map | more}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = inspect(spec(model), token=None)
    assert facts.tensors.keys() == weight_map.keys()
    assert facts.weight_files == ("all.safetensors",)
    (note,) = facts.notes
    assert note.startswith("model.safetensors.index.json names `gone.safetensors`, which is not there")
    del index["metadata"]
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert any("has no `metadata`" in note for note in inspect(spec(model), token=None).notes)


def test_a_config_that_names_another_file_with_weights_is_refused(model: Path) -> None:
    config = LLAMA | {"transformers_weights": "model.safetensors"}
    (model / "config.json").write_text(json.dumps(config))
    assert inspect(spec(model), token=None).config == config
    (model / "config.json").write_text(json.dumps(LLAMA | {"transformers_weights": "ema.safetensors"}))
    assert error_of(model).message == (
        "config.json says transformers_weights: `ema.safetensors`, which transformers reads instead of "
        "model.safetensors"
    )


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-10])
    assert error_of(folder).message == (
        f"model-00002-of-00002.safetensors is truncated: its tensors end at byte {size}, "
        f"the file at {size - 10}"
    )


def test_a_model_without_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text("{}")
    error = error_of(model)
    assert error.message == "./mine has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, model: Path, name: str) -> None:
    (model / name).rename(tmp_path / name)
    (model / name).symlink_to(tmp_path / name)
    error = error_of(model)
    assert error.message == f"{name} is a link that leads out of {model}"
    assert error.hint == "Copy the folder with its links resolved (cp -rL)."


def test_a_snapshot_in_the_hubs_cache_is_a_model_folder(tmp_path: Path, model: Path) -> None:
    snapshot, blobs = tmp_path / "repo" / "snapshots" / "abc", tmp_path / "repo" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    for path in model.iterdir():
        (blobs / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert inspect(spec(snapshot), token=None).revision == inspect(spec(model), token=None).revision
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(model / "config.json")
    assert error_of(snapshot).message == f"config.json is a link that leads out of {snapshot}"


def test_an_index_that_points_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", shards=2)
    write_shard(tmp_path / "secret.safetensors", {"w": (1,)})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "../secret.safetensors"}}))
    assert error_of(folder).message == (
        "model.safetensors.index.json: tensor w is said to be in '../secret.safetensors'"
    )


def test_side_files_are_what_inference_needs_and_nothing_else(model: Path) -> None:
    along = [
        "LICENSE.md",
        "NOTICE",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "generation_config.json",
        "merges.txt",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    left = [
        "README.md",
        "modeling.py",
        "pytorch_model.bin",
        "train.log",
        "tokenizer.pkl",
        ".git/tokenizer.json",
    ]
    for name in along + left:
        path = model / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert [path.relative_to(model).as_posix() for path in side_files(model)] == along
    assert model / "modeling.py" in side_files(model, code=True)


def test_the_card_gives_licence_and_language(model: Path) -> None:
    (model / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage: [en, fr]\n---\n# Words\nlicense: mit\n"
    )
    facts = inspect(spec(model), token=None)
    source = fetch(spec(model), facts, None, token=None)  # type: ignore[arg-type]  # nothing is downloaded
    assert source.folder == model
    assert source.license == "apache-2.0"
    assert source.card == {"license": "apache-2.0", "language": ["en", "fr"]}


def test_a_folder_without_a_card_says_nothing_and_one_with_a_bad_card_says_so(model: Path) -> None:
    assert inspect(spec(model), token=None).notes == ()
    (model / "README.md").write_bytes(b"---\nlicense: [mit\nlanguage: [en, no]\n---\n")
    facts = inspect(spec(model), token=None)
    assert facts.card == {"language": ["en", "no"]}
    assert facts.terms.gated == "manual"
    assert facts.notes == base_card(model).notes != ()


def test_a_card_that_may_not_be_read_is_an_error_that_names_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    usual = Path.open

    def opened(path: Path, *words: Any, **more: Any) -> Any:
        if path.name == "README.md":
            raise PermissionError(errno.EACCES, "Permission denied")
        return usual(path, *words, **more)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(SourceError, match=r"README\.md cannot be read: permission denied"):
        inspect(spec(model), token=None)
