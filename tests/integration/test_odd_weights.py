"""A base model whose files are not quite what save_pretrained writes, from the manifest to the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.odd_weights import say, shard, tensors_of
from tests.support.small_runs import SEQUENCE, command, evaluation, manifest, report, save_tiny_model

NORM, HEAD, EMBEDDING = "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"


@pytest.fixture
def odd(tmp_path: Path, calibration_text: Path) -> Path:
    """A model that says that it is tied and is not, in shards that disagree with their index."""
    folder = save_tiny_model(tmp_path / "model", calibration_text)
    tensors = tensors_of(folder)
    first = {name: tensor for name, tensor in tensors.items() if ".0." in name} | {NORM: tensors[NORM] * 3}
    second = {name: tensor for name, tensor in tensors.items() if name not in first or name == NORM}
    second["model.mtp.fc.weight"] = torch.arange(16, dtype=torch.float16).view(4, 4)
    weight_map = dict.fromkeys(second, "b.safetensors") | dict.fromkeys(first, "a.safetensors")
    shard(folder, {"a.safetensors": first, "b.safetensors": second}, weight_map)
    say(folder, tie_word_embeddings=True)
    return folder


def test_pass_base_figures_and_checkpoint_are_those_of_the_model_that_transformers_loads(
    odd: Path, tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    base = {name: tensor.clone() for name, tensor in load_file(odd / "b.safetensors").items()}
    path = manifest(
        tmp_path,
        odd,
        calibration_text,
        [{"method": "gptq", "bits": 4}],
        evaluate=evaluation(held_out_text),
    )
    done = command("run", path, "--output", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"warning: tiny: {HEAD} differs from {EMBEDDING}" in done.stdout + done.stderr
    cell = report(tmp_path / "out")["tiny-gptq-4bit"]
    told = " | ".join(cell["notes"])
    assert f"several shards hold `{NORM}`: that of b.safetensors is read" in told
    assert "1 tensor beside the language model is copied unchanged" in told
    assert f"{HEAD} differs from {EMBEDDING}" in told
    assert "compares the two" not in told
    checkpoint = tmp_path / "out" / "tiny-gptq-4bit"
    assert f"{HEAD} differs from" in (checkpoint / "README.md").read_text(encoding="utf-8").replace(
        "&#95;", "_"
    )
    assert json.loads((checkpoint / "config.json").read_text())["tie_word_embeddings"] is False
    stored = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(stored[name], base[name]) for name in (NORM, HEAD, EMBEDDING))
    assert torch.equal(stored["model.mtp.fc.weight"], base["model.mtp.fc.weight"])
    size = ["--samples", "4", "--sequence-length", str(SEQUENCE)]
    plain = command("evaluate", odd, "--text", held_out_text, *size, cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)["perplexity"] == pytest.approx(cell["perplexity_before"], rel=1e-5)
