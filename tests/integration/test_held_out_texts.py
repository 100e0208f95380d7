"""Several held-out texts in one pass, and perplexity beside plain transformers on the same tokens."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from transformers import AutoModelForCausalLM, AutoTokenizer

from quantize_lib.files import read_json
from tests.support.small_runs import ROOT, command, evaluation, manifest, report, save_tiny_model

LENGTH = 64
CELLS = [{"method": "gptq", "bits": 4, "format": "compressed-tensors", "name": "tiny-w4"}]
ID = "tiny-w4"


@pytest.fixture(scope="module")
def run(
    small_model: Path,
    calibration_text: Path,
    held_out_text: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a run of the real model's first two blocks that is measured on three texts."""
    folder = tmp_path_factory.mktemp("texts")
    reviews = held_out_text.with_name("reviews.jsonl")
    evaluate = {
        "perplexity": {"texts": _documents(held_out_text, 12), "samples": 99, "sequence_length": LENGTH},
        "texts": {
            "reviews": {"texts": _documents(reviews, 12), "samples": 99, "max_kl_divergence": 9},
            "seen": {"files": [str(calibration_text)], "samples": 3, "min_top_token_agreement": "100%"},
        },
        "max_perplexity_increase": 10,
        "max_size": "1 GB",
    }
    manifest(folder, small_model, calibration_text, CELLS, evaluate=evaluate)
    return folder, command("run", "quantize.yml", "--output", "out", cwd=folder)


def _documents(path: Path, count: int) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line)["text"] for line in lines]


def cell(folder: Path) -> dict[str, Any]:
    return report(folder / "out")[ID]


def _windows(model: Path, documents: Sequence[str]) -> torch.Tensor:
    """Documents joined with end-of-sequence tokens and cut, written down once more."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    stream = [
        token
        for text in documents
        for token in (*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
    ]
    return torch.tensor(stream[: len(stream) // LENGTH * LENGTH]).view(-1, LENGTH)


def _perplexity(model: Path, ids: torch.Tensor) -> float:
    """By the loss that transformers itself computes, over all windows at once."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        return math.exp(float(loaded(input_ids=ids, labels=ids).loss))


def test_perplexity_is_that_of_plain_transformers_within_a_thousandth(
    run: tuple[Path, subprocess.CompletedProcess[str]], small_model: Path, held_out_text: Path
) -> None:
    folder, _ = run
    texts = {"": held_out_text, "reviews": held_out_text.with_name("reviews.jsonl")}
    for name, path in texts.items():
        ids = _windows(small_model, _documents(path, 12))
        measured = cell(folder) if not name else cell(folder)["texts"][name]
        assert measured["evaluation"]["tokens_digest"] == hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        figure = measured["figures"]["perplexity"]
        assert figure["before"] == pytest.approx(_perplexity(small_model, ids), rel=1e-3)
        assert figure["after"] == pytest.approx(_perplexity(folder / "out" / ID, ids), rel=1e-3)


def test_each_text_has_its_figures_and_its_limits(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = run
    assert done.returncode == 4, done.stderr
    found = cell(folder)
    Draft202012Validator(read_json(ROOT / "schemas" / "report.schema.json")).validate(
        read_json(folder / "out" / "report.json")
    )
    # Those of the tool come last.
    assert list(found["texts"]) == ["reviews", "seen", "conversations"]
    for text in found["texts"].values():
        assert text["figures"].keys() == found["figures"].keys()
        assert text["evaluation"]["sequence_length"] == LENGTH
        assert text["figures"]["kl_divergence"] != found["figures"]["kl_divergence"]
    assert found["perplexity_after"] == found["figures"]["perplexity"]["after"]
    assert found["limits"] == {
        "max_perplexity_increase": 10.0,
        "max_size": 1e9,
        "texts.reviews.max_kl_divergence": 9.0,
        "texts.seen.min_top_token_agreement": 1.0,
    }
    outcomes = {verdict["limit"]: verdict["outcome"] for verdict in found["verdicts"]}
    assert outcomes == {
        **dict.fromkeys(found["limits"], "met"),
        "texts.seen.min_top_token_agreement": "missed",
    }
    assert found["error"].startswith("on seen: top-token agreement is ")


def test_a_text_that_was_calibrated_on_is_pointed_out(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = run
    texts = cell(folder)["texts"]
    assert "shared" not in cell(folder)["evaluation"]
    assert "shared" not in texts["reviews"]["evaluation"]
    shared = texts["seen"]["evaluation"]["shared"]
    assert 0 < shared <= texts["seen"]["evaluation"]["samples"]
    card = unescape((folder / "out" / ID / "README.md").read_text(encoding="utf-8"))
    for place in (done.stderr, card):
        assert f"{shared} of 3 sequences" in place
        assert "in common with the calibration text" in place
    assert "On <code>reviews</code>, " in card
    assert "- on seen: top-token agreement is " in card


def test_what_is_sure_to_be_too_large_is_refused_before_anything_is_computed(
    small_model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    manifest(tmp_path, small_model, calibration_text, CELLS, evaluate={"max_size": "1 MB"})
    for word in ("plan", "run"):
        done = command(word, "quantize.yml", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "tiny-w4: its weights will take about" in done.stderr
        assert "more than the 1.0 MB of max_size" in done.stderr


def test_what_is_worse_than_the_version_published_before_is_not_published(
    calibration_text: Path, held_out_text: Path, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "model", calibration_text)
    publish = {"to": "directory", "path": "published", "name": "tiny"}
    limit = evaluation(held_out_text, no_worse_than="published")

    def run_with(bits: int) -> dict[str, Any]:
        cells = [{"method": "bitsandbytes", "bits": bits, "name": "tiny"}]
        manifest(tmp_path, model, calibration_text, cells, evaluate=limit, publish=publish)
        done = command("run", "quantize.yml", "--output", "out", cwd=tmp_path)
        assert done.returncode in (0, 4), done.stderr
        return report(tmp_path / "out")["tiny"]

    first = run_with(8)
    assert first["status"] == "published"
    assert first["verdicts"][0]["text"].startswith("nothing was published before")
    published = (tmp_path / "published" / "tiny" / "quantization_report.json").read_bytes()
    second = run_with(4)
    assert (second["status"], second["code"]) == ("gated", "gate")
    assert "that of the version published before" in second["error"]
    assert "(paired)" in second["error"]
    assert (tmp_path / "published" / "tiny" / "quantization_report.json").read_bytes() == published
    again = run_with(8)
    assert again["status"] == "skipped", again["error"]
