"""Other builds of a base model: what the manifest may name, what is refused, and how far two are apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from quantize_lib.errors import SourceError, UsageError
from quantize_lib.manifest import load_manifest
from quantize_lib.metrics.figure import Figure, paired
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.other_build import OtherBuild, find_build
from tests.support.model_files import LLAMA, write_model


def find(folder: Path) -> OtherBuild:
    spec = ModelSpec(id="./other", name="other", local=folder)
    return find_build(spec, LLAMA, base_id="acme/tiny")


def load(folder: Path, *named: str) -> list[ModelSpec]:
    (folder / "text.txt").write_text("words")
    document = {
        "version": 1,
        "models": [{"id": "acme/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
        "evaluate": {"perplexity": {"files": ["text.txt"]}, "compare_with": list(named)},
    }
    (folder / "quantize.yml").write_text(yaml.safe_dump(document))
    plan = load_manifest(folder / "quantize.yml")
    return list(plan.jobs[0].evaluate.compare_with)


def test_a_manifest_names_folders_and_repositories_with_and_without_a_revision(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    local, main, tagged = load(tmp_path, "./other", "acme/one", "acme/two@v1.0")
    assert local.local == tmp_path / "other"
    assert (main.id, main.revision, main.name) == ("acme/one", "main", "one")
    assert (tagged.id, tagged.revision) == ("acme/two", "v1.0")
    names = [OtherBuild(spec=spec, revision="", weight_bytes=0).name for spec in (local, main, tagged)]
    assert names == ["./other", "acme/one", "acme/two@v1.0"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("./none", "no such folder"),
        ("a/b/c", "neither a folder here nor a repository on the Hub"),
        ("@v1", "neither a folder here nor a repository on the Hub"),
        ("text.txt/", "neither a folder here nor a repository on the Hub"),
    ],
)
def test_what_is_neither_is_refused_where_it_is_written(tmp_path: Path, named: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"evaluate\.compare_with\[1\]") as caught:
        load(tmp_path, "acme/one", named)
    assert message in str(caught.value)


def test_without_a_held_out_text_there_is_nothing_to_compare_by(tmp_path: Path) -> None:
    document = {
        "version": 1,
        "models": [{"id": "acme/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
        "evaluate": {"compare_with": ["acme/one"]},
    }
    (tmp_path / "quantize.yml").write_text(yaml.safe_dump(document))
    with pytest.raises(UsageError, match="nothing to measure it on"):
        load_manifest(tmp_path / "quantize.yml")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_is_known_by_the_hash_of_its_content(tmp_path: Path, shards: int) -> None:
    write_model(tmp_path / "other", shards=shards)
    found = find(tmp_path / "other")
    assert found.revision.startswith("sha256:")
    assert found.weight_bytes == sum(
        file.stat().st_size for file in (tmp_path / "other").glob("*.safetensors")
    )
    with (tmp_path / "other" / "tokenizer.json").open("a") as file:
        file.write(" ")
    assert find(tmp_path / "other").revision != found.revision


def _configured(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({**LLAMA, **values}))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _configured(model_type="qwen2"),
            r"no build of acme/tiny: by config\.json its type is qwen2, not llama",
        ),
        (_configured(vocab_size=65), "its vocabulary is 65, not 64"),
        (_configured(hidden_size=90), "its width is 90, not 96"),
        (_configured(num_hidden_layers=3), "its number of blocks is 3, not 2"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"), "pickle"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "model.gguf"), "GGUF"),
    ],
)
def test_what_cannot_be_compared_with_is_refused_by_what_it_is(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    write_model(tmp_path / "other")
    change(tmp_path / "other")
    with pytest.raises(SourceError, match=message):
        find(tmp_path / "other")


def test_two_checkpoints_are_compared_sequence_by_sequence() -> None:
    first, second = Figure(sequence_means=(1.0, 2.0, 4.0)), Figure(sequence_means=(0.0, 2.0, 2.0))
    apart = paired(first, second)
    assert apart is not None
    assert apart == pytest.approx((1.0, 3**-0.5))
    assert paired(first, Figure()) is None
    assert paired(first, Figure(sequence_means=(1.0,))) is None
    assert paired(Figure(sequence_means=(2.0,)), Figure(sequence_means=(1.0,))) == (1.0, 0.0)
