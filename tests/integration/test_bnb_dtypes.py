"""bitsandbytes checkpoints of 16-bit models load as users load them, whatever dtypes the base model mixes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.small_runs import FASTEST, command, evaluation, manifest, report, save_tiny_model


@pytest.mark.parametrize(
    ("model_type", "kept", "said"),
    [("gpt_neox", "", "float32"), ("opt", "", "bfloat16"), ("llama", "norm", "bfloat16")],
    ids=["a config that says float32", "LayerNorm in 16 bits", "float32 norms"],
)
def test_it_is_published_and_in_one_dtype(
    model_type: str, kept: str, said: str, calibration_text: Path, held_out_text: Path, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text, model_type=model_type)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": said}))
    tensors = load_file(model / "model.safetensors")
    mixed = {name: value.float() if kept and kept in name else value for name, value in tensors.items()}
    save_file(mixed, model / "model.safetensors", metadata={"format": "pt"})
    publish = {"to": "directory", "path": "published"}
    path = manifest(
        tmp_path, model, calibration_text, FASTEST, evaluate=evaluation(held_out_text), publish=publish
    )
    done = command("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (cell,) = report(tmp_path / "output").values()
    assert cell["reload"]["dtype"] == "bfloat16"
    assert cell["reload"]["reproduced"]
    checkpoint = tmp_path / "output" / cell["id"]
    stored = load_file(checkpoint / "model.safetensors")
    assert {value.dtype for name, value in stored.items() if "norm" in name} == {torch.bfloat16}
    assert json.loads((checkpoint / "config.json").read_text())["dtype"] == "bfloat16"
