"""Pickled weights: the quantizing process reads them as tensors and nothing else."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from quantize_lib.files import read_json, sha256_file, write_json
from tests.support.small_runs import FASTEST, command, evaluation, manifest, save_tiny_model

CELL = "tiny-bnb-8bit"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model in safetensors. Read only."""
    return save_tiny_model(tmp_path_factory.mktemp("pickled") / "tiny", calibration_text)


def pickled(tiny: Path, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The same model without its weights, and those."""
    folder.mkdir(parents=True)
    for path in tiny.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder, load_file(tiny / "model.safetensors")


def job(folder: Path, model: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What the container runs: `job JOB.json` for one cell, and the folder that it writes to."""
    texts = folder / "texts.json"
    texts.write_text('["' + "words of a text " * 200 + '"]', encoding="utf-8")
    output = folder / "out"
    output.mkdir(exist_ok=True)
    held_out = {
        "texts": "texts.json",
        "source": "texts",
        "revision": "r",
        "samples": 2,
        "sequence_length": 32,
    }
    document = {
        "version": 1,
        "id": "tiny-cpu",
        "model": {"path": str(model), "name": "tiny", "revision": "r", "allow_pickle": True},
        "device": "cpu",
        "evaluation": held_out,
        "cells": [{"id": CELL, "settings": {"method": "bitsandbytes", "bits": 8}}],
        "output": str(output),
    }
    write_json(folder / "job.json", document)
    return command("job", folder / "job.json", cwd=folder), output


def files(folder: Path) -> Mapping[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir() if path.is_file()}


def test_a_pickled_model_gives_the_bytes_of_the_same_model_in_safetensors(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    done, expected = job(tmp_path / "plain", tiny)
    assert done.returncode == 0, done.stderr
    model, tensors = pickled(tiny, tmp_path / "one" / "tiny")
    torch.save(tensors, model / "pytorch_model.bin")
    done, output = job(tmp_path / "one", model)
    assert done.returncode == 0, done.stderr
    assert files(output / CELL) == files(expected / CELL)
    assert read_json(output / "result.json")["cells"][CELL]["reload"]["reproduced"]
    # The copy in safetensors is gone.
    assert {path.name for path in output.iterdir()} == {".passes", "result.json", CELL}


def test_several_files_and_files_from_before_pytorch_1_6_are_read(tiny: Path, tmp_path: Path) -> None:
    model, tensors = pickled(tiny, tmp_path / "tiny")
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save(
            {name: tensors[name] for name in part}, model / file, _use_new_zipfile_serialization=number == 1
        )
        weight_map |= dict.fromkeys(part, file)
    write_json(model / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    done, output = job(tmp_path, model)
    assert done.returncode == 0, done.stderr
    assert read_json(output / "result.json")["cells"][CELL]["reload"]["reproduced"]


class _Runs:
    """A pickle that runs a command when a careless reader opens it."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._marker}",)


def test_a_pickle_that_would_run_code_runs_nothing_and_fails_the_cell(tiny: Path, tmp_path: Path) -> None:
    model, tensors = pickled(tiny, tmp_path / "tiny")
    marker = tmp_path / "it-ran"
    for payload in ({**tensors, "x": _Runs(marker)}, _Runs(marker)):
        torch.save(payload, model / "pytorch_model.bin")
        done, output = job(tmp_path, model)
        assert done.returncode == 3
        error = read_json(output / "result.json")["cells"][CELL]["error"]
        assert re.match(
            r"pytorch_model\.bin cannot be read as tensors and nothing else: "
            r"Trying to load unsupported GLOBAL \w+\.system",
            error,
        )
        assert not marker.exists()
    # The payload is what it says: a careless reader does run it.
    pickle.loads(pickle.dumps(_Runs(marker)))
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pytorch_model.bin cannot be read as tensors and nothing else: "),
        (b"PK\x03\x04 no archive", "pytorch_model.bin cannot be read as tensors and nothing else: "),
        (["a", "list"], "pytorch_model.bin is no dictionary of tensors by name"),
        ({"step": 3}, "pytorch_model.bin is no dictionary of tensors by name"),
        ({"w": torch.zeros(2, dtype=torch.float64)}, "pytorch_model.bin: the tensor 'w' is torch.float64"),
        (
            {"w": torch.zeros(2, 2).to_sparse()},
            "pytorch_model.bin: the tensor 'w' is torch.float32, torch.sparse",
        ),
        ({"model.norm.weight": torch.zeros(2)}, "the base model has no tensor model.embed_tokens.weight"),
    ],
)
def test_what_is_no_model_is_refused_with_its_reason(
    tiny: Path, tmp_path: Path, content: Any, message: str
) -> None:
    model, _ = pickled(tiny, tmp_path / "tiny")
    if isinstance(content, bytes):
        (model / "pytorch_model.bin").write_bytes(content)
    else:
        torch.save(content, model / "pytorch_model.bin")
    done, output = job(tmp_path, model)
    assert done.returncode == 3
    assert read_json(output / "result.json")["cells"][CELL]["error"].startswith(message)
    assert not (output / CELL).exists()


def test_the_local_executor_refuses_what_it_would_not_contain(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    model, tensors = pickled(tiny, tmp_path / "tiny")
    torch.save(tensors, model / "pytorch_model.bin")
    path = manifest(tmp_path, model, calibration_text, FASTEST, evaluate=evaluation(calibration_text))
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["models"][0]["allow_pickle"] = True
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    planned = command("plan", "quantize.yml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert CELL in planned.stdout
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 2
    assert "allow_pickle" in done.stderr
    assert "--executor docker" in done.stderr
