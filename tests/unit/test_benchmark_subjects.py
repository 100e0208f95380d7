"""Which folders a benchmark measures, and what it compares them with."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantize_lib.benchmark.records import Subject
from quantize_lib.benchmark.subjects import find_subjects
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.files import write_json
from quantize_lib.report import write_report
from tests.support.records import MEASURED, RECORD

QUANTIZED = {
    "architectures": ["LlamaForCausalLM"],
    "quantization_config": {"quant_method": "gptq", "bits": 4},
}


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def folder(path: Path, **config: object) -> Path:
    write_json(path / "config.json", {"architectures": ["LlamaForCausalLM"], **config})
    (path / "model.safetensors").write_bytes(bytes(1000 if config else 2500))
    return path


def find(*paths: Path, base: Path | None = None) -> tuple[tuple[Subject, ...], str]:
    said = io.StringIO()
    return find_subjects(paths, base, PlainReporter(said)), said.getvalue()


def write_run(output: Path, *, model: str, manifest: Path | None = None, revision: str | None = None) -> None:
    """A run's output: a cell with a checkpoint, and one without."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    made = replace(
        RECORD,
        id="tiny-gptq-4bit",
        model=model,
        revision=revision,
        path="tiny-gptq-4bit",
        measurements=MEASURED,
    )
    failed = replace(RECORD, id="tiny-awq-4bit", model=model, path=None, status="failed", error="no")
    folder(output / "tiny-gptq-4bit", **QUANTIZED)
    write_report(output, [made, failed], started=now, finished=now, command="x", manifest=manifest)


@pytest.mark.parametrize("name", ["output", "output/report.json"])
def test_a_report_is_all_its_checkpoints_and_their_base_first(tmp_path: Path, name: str) -> None:
    folder(tmp_path / "models" / "tiny")
    write_run(tmp_path / "output", model="./models/tiny", manifest=tmp_path / "quantize.yml")
    (base, checkpoint), said = find(tmp_path / name)
    assert (base.name, base.kind, base.size_bytes, base.base) == ("tiny", "full precision", 2500, None)
    assert (checkpoint.name, checkpoint.kind, checkpoint.bits) == ("tiny-gptq-4bit", "GPTQ, 4 bits", 4)
    assert (checkpoint.base, checkpoint.size_bytes) == ("tiny", 1000)
    assert said == (f"warning: tiny-awq-4bit has no checkpoint in {tmp_path / 'output'}, and is left out\n")


def test_a_checkpoints_own_record_names_its_base(tmp_path: Path) -> None:
    base = folder(tmp_path / "tiny")
    write_json(
        folder(tmp_path / "checkpoint", **QUANTIZED) / "quantization_report.json",
        {"model": str(base), "method": "gptq", "bits": 4},
    )
    found, _ = find(tmp_path / "checkpoint")
    assert [(one.name, one.base) for one in found] == [("tiny", None), ("checkpoint", "tiny")]


def test_without_a_base_a_checkpoint_is_measured_alone_and_that_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "output", model="acme/not-here")
    (checkpoint,), said = find(tmp_path / "output")
    assert checkpoint.base is None
    assert "measured without a base model: acme/not-here is not on this machine; --base names" in said


def test_a_base_without_its_weights_is_none(tmp_path: Path) -> None:
    (folder(tmp_path / "tiny") / "model.safetensors").unlink()
    write_run(tmp_path / "output", model=str(tmp_path / "tiny"))
    (checkpoint,), _ = find(tmp_path / "output")
    assert checkpoint.base is None


def test_a_base_in_the_hubs_cache_has_the_models_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder(tmp_path / "cache" / "models--acme--tiny" / "snapshots" / COMMIT)
    write_run(tmp_path / "output", model="acme/tiny", revision=COMMIT)
    (base, checkpoint), _ = find(tmp_path / "output")
    assert (base.name, checkpoint.base) == ("tiny", "tiny")


def test_a_checkpoint_of_others_names_no_base_and_that_is_said(tmp_path: Path) -> None:
    (checkpoint,), said = find(folder(tmp_path / "theirs", **QUANTIZED))
    assert (checkpoint.kind, checkpoint.bits) == ("gptq", None)
    assert "it has no quantization_report.json, which names one" in said


def test_a_base_that_is_given_is_everyones(tmp_path: Path) -> None:
    base = folder(tmp_path / "tiny")
    found, said = find(folder(tmp_path / "a", **QUANTIZED), folder(tmp_path / "b", **QUANTIZED), base=base)
    assert [(one.name, one.base) for one in found] == [("tiny", None), ("a", "tiny"), ("b", "tiny")]
    assert said == ""


def test_a_base_that_is_also_a_path_is_measured_once(tmp_path: Path) -> None:
    base = folder(tmp_path / "tiny")
    found, said = find(base, folder(tmp_path / "a", **QUANTIZED), base=base)
    assert [one.name for one in found] == ["tiny", "a"]
    found, said = find(base, base)
    assert [one.name for one in found] == ["tiny"]
    assert said == ""


def test_two_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    found, _ = find(folder(tmp_path / "a" / "tiny"), folder(tmp_path / "b" / "tiny"))
    assert [one.name for one in found] == ["tiny", str(tmp_path / "b" / "tiny")]


def test_a_base_that_has_a_base_itself_is_compared_with_it(tmp_path: Path) -> None:
    first = folder(tmp_path / "first")
    for name, model in (("second", first), ("third", tmp_path / "second")):
        record = folder(tmp_path / name) / "quantization_report.json"
        write_json(record, {"model": str(model)})
    expected = [("first", None), ("second", "first"), ("third", "second")]
    for paths in (("third", "second"), ("second", "third")):
        found, said = find(*(tmp_path / name for name in paths))
        assert [(one.name, one.base) for one in found] == expected
        assert said == ""


def test_records_that_name_each_other_end_nowhere_else(tmp_path: Path) -> None:
    for name, model in (("a", "b"), ("b", "a")):
        record = folder(tmp_path / name) / "quantization_report.json"
        write_json(record, {"model": str(tmp_path / model)})
    found, _ = find(tmp_path / "a", tmp_path / "b")
    assert [(one.name, one.base) for one in found] == [("b", None), ("a", "b")]


def test_a_record_that_names_its_own_folder_names_no_base(tmp_path: Path) -> None:
    write_json(folder(tmp_path / "tiny") / "quantization_report.json", {"model": str(tmp_path / "tiny")})
    (found,), _ = find(tmp_path / "tiny")
    assert found.base is None


def test_a_record_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    (folder(tmp_path / "tiny") / "quantization_report.json").write_text('["x"]')
    (found,), _ = find(tmp_path / "tiny")
    assert found.kind == "full precision"
    (tmp_path / "tiny" / "quantization_report.json").write_text('{"model": ["x"], "method": {}, "bits": "4"}')
    (found,), _ = find(tmp_path / "tiny")
    assert (found.kind, found.bits) == ("full precision", None)


@pytest.mark.parametrize("model", ["../../..", "a//b", "\x00", "a" * 500, "-"])
def test_a_name_that_no_model_has_is_no_base(tmp_path: Path, model: str) -> None:
    write_run(tmp_path / "output", model=model)
    (checkpoint,), _ = find(tmp_path / "output")
    assert checkpoint.base is None


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path)
    assert caught.value.message == f"{tmp_path} is no checkpoint and no run's output"
    assert caught.value.hint == ("Name a folder with config.json, or one with report.json, or a report.json.")
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UsageError, match=r"is no checkpoint: its config\.json"):
            find(tmp_path)
    with pytest.raises(UsageError, match=r"is no checkpoint: it has no config\.json"):
        find(folder(tmp_path / "a"), base=tmp_path / "none")


def test_a_model_that_continues_no_text_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"architectures": ["BertForMaskedLM"], "model_type": "bert"})
    with pytest.raises(UsageError, match="a masked language model, which continues no text"):
        find(tmp_path)
