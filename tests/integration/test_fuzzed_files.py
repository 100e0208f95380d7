"""Whatever stands in a model's small files: plan and run end with 0, 2 or 3, and never with a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantize_lib.cli import main
from quantize_lib.files import read_json, write_json
from quantize_lib.tokenizer import probe
from quantize_lib.tokenizer.question import Answer, Question
from tests.support.damage import damaged_bytes, damaged_json
from tests.support.in_process import execute, reload_at_once
from tests.support.small_runs import FASTEST, manifest, save_tiny_model

INDEX = "model.safetensors.index.json"
CARD = b"""---
license: apache-2.0
language: [en, no]
tags: [tiny]
extra_gated_fields: {Name: text}
pipeline_tag: text-generation
---
# Tiny
"""
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    INDEX,
    "README.md",
)
ENDS = (0, 2, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A model in two shards with every file that is fuzzed."""
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path_factory.mktemp("fuzzed") / "whole", calibration_text)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="300KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    write_json(folder / "generation_config.json", {"eos_token_id": [2], "do_sample": True, "top_k": 5})
    (folder / "README.md").write_bytes(CARD)
    assert all((folder / name).is_file() for name in FILES)
    return folder


@st.composite
def damage(draw: st.DrawFn, whole: Path) -> dict[str, bytes]:
    """One or two files, damaged."""
    found: dict[str, bytes] = {}
    for name in draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True)):
        data = (whole / name).read_bytes()
        found[name] = draw(damaged_json(data) if name.endswith(".json") else damaged_bytes(data))
    return found


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(whole, tmp_path / "tiny")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes of the product inside this one, which is a hundred times faster."""

    def ask(question: Question, _digests: Mapping[str, str]) -> Answer:
        path = tmp_path / "question.json"
        write_json(path, question.to_json())
        return probe.answer(Question.from_json(read_json(path)))

    monkeypatch.setattr("quantize_lib.host.tokenizers.ask", ask)
    monkeypatch.setattr("quantize_lib.cli.running._local_executor", lambda _plan: execute)
    reload_at_once(monkeypatch)
    monkeypatch.chdir(tmp_path)


def put(model: Path, whole: Path, damaged: Mapping[str, bytes]) -> None:
    """The model as it was made, but for the damaged files."""
    for name in FILES:
        (model / name).write_bytes(damaged.get(name, (whole / name).read_bytes()))


# Every example begins with the whole model again, so fixtures may last.
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.usefixtures("at_once")
@settings(FUZZ, max_examples=300)
@given(data=st.data())
def test_plan_takes_or_refuses_any_small_files(
    data: st.DataObject,
    whole: Path,
    model: Path,
    calibration_text: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = data.draw(damage(whole))
    put(model, whole, damaged)
    quantize = [{"method": "gptq", "bits": 4}, *FASTEST]
    manifest(model.parent, model, calibration_text, quantize, publish={"to": "directory", "path": "out"})
    assert main(["plan", "quantize.yml"]) in ENDS
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "a bug" not in said.err


@pytest.mark.usefixtures("at_once")
@settings(FUZZ, max_examples=40)
@given(data=st.data())
def test_run_takes_or_refuses_any_small_files(
    data: st.DataObject,
    whole: Path,
    model: Path,
    calibration_text: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = data.draw(damage(whole))
    put(model, whole, damaged)
    manifest(model.parent, model, calibration_text, FASTEST, publish={"to": "directory", "path": "out"})
    code = main(["run", "quantize.yml", "--force"])
    said = capsys.readouterr()
    assert code in ENDS, said.err
    assert "a bug" not in said.err
    (cell,) = json.loads((model.parent / "output" / "report.json").read_text())["cells"]
    assert cell["status"] == ("published" if code == 0 else "failed")
