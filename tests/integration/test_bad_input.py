"""Bad input, each with its exact message and exit code, and never with a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from quantize_lib.errors import ErrorCode
from quantize_lib.files import read_json, write_json
from tests.support.small_runs import FASTEST, FIVE, command, environment, manifest, report, save_tiny_model

DOWN = "model.layers.1.mlp.down_proj.weight"
DAMAGED = "  The base model is damaged; fetch it again or choose another revision."
NOT_JSON = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
MISMATCH = "  The safetensors files do not belong to this config.json."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model. Read only."""
    return save_tiny_model(tmp_path_factory.mktemp("bad-input") / "tiny", calibration_text)


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A tiny model to damage."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def run(
    folder: Path, model: Path, text: Path, *words: str | Path, **more: Any
) -> tuple[int, str, str | None]:
    """One bitsandbytes cell: exit code, what was said, and the cell's error in the report."""
    path = manifest(folder, model, text, more.pop("quantize", FASTEST), **more)
    done = command("run", path, "--output", folder / "out", *words, cwd=folder)
    error = None
    if (folder / "out" / "report.json").exists():
        (cell,) = report(folder / "out").values()
        assert cell["status"] == "failed"
        error = cell["error"]
        # Every error has a code; which one follows from the exit code only in part.
        assert (cell["code"] == "usage") == (done.returncode == 2)
        assert cell["code"] in (set(ErrorCode) - {"other", "gate", "publish", "interrupted"})
        assert not (folder / "out" / cell["id"]).exists()
        assert [p.name for p in (folder / "out" / ".state").iterdir()] == ["lock"]
    assert not (folder / "published").exists()
    return done.returncode, done.stderr, error


def _set(model: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    file = model / "model.safetensors"
    tensors = load_file(file)
    tensors[name] = change(tensors[name].clone()).contiguous()
    save_file(tensors, file, {"format": "pt"})


def _with(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def put(tensor: torch.Tensor) -> torch.Tensor:
        tensor[0, 0] = value
        return tensor

    return put


def _config(model: Path, **values: Any) -> None:
    write_json(model / "config.json", {**read_json(model / "config.json"), **values})


def _truncate(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


SEEN_AT_ONCE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (
        lambda model: (model / "config.json").unlink(),
        "{model}: {model} has no config.json\n"
        "  A model folder holds config.json, *.safetensors and the tokenizer's files.",
    ),
    "config is no JSON": (
        lambda model: (model / "config.json").write_text("{", encoding="utf-8"),
        f"config.json is not JSON: {NOT_JSON}\n  Fetch the base model again.",
    ),
    "no safetensors": (
        lambda model: (model / "model.safetensors").unlink(),
        "{model} has neither model.safetensors nor model.safetensors.index.json\n"
        "  Weights are read from safetensors only.",
    ),
    "pickled weights": (
        _pickled,
        "{model} has pickled weights alone (pytorch_model.bin); reading them can run foreign code\n"
        "  Choose a revision with *.safetensors, or save it once with transformers' save_pretrained; "
        "pickled weights are refused unless the model says allow_pickle: true.",
    ),
    "truncated shard": (
        _truncate,
        "model.safetensors is truncated: its tensors end at byte 855440, the file at 854440\n"
        "  The file is damaged or incomplete; fetch the base model again.",
    ),
    "no tokenizer": (
        _no_tokenizer,
        "{model} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)\n"
        "  Copy the tokenizer's files of the base model into the folder.",
    ),
    "wrong shape": (
        lambda model: _set(model, "model.norm.weight", lambda tensor: tensor[:64]),
        "model.safetensors: tensor model.norm.weight has the shape [64], config.json asks for [128]\n"
        f"{MISMATCH}",
    ),
    "an encoder-decoder": (
        lambda model: _config(model, is_encoder_decoder=True),
        "LlamaForCausalLM (llama) is an encoder-decoder model by config.json (is_encoder_decoder), and not "
        "by its class\n"
        "  List the class that loads it under architectures, such as T5ForConditionalGeneration.",
    ),
}
SEEN_WHEN_READ: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (
        lambda model: _set(model, DOWN, _with(float("nan"))),
        f"model.safetensors: tensor {DOWN} holds NaN or Inf\n{DAMAGED}",
    ),
    "Inf in the embedding": (
        lambda model: _set(model, "model.embed_tokens.weight", _with(float("inf"))),
        f"model.safetensors: tensor model.embed_tokens.weight holds NaN or Inf\n{DAMAGED}",
    ),
}


@pytest.mark.parametrize("case", SEEN_AT_ONCE)
def test_a_model_that_cannot_be_used_is_told_before_anything_is_computed(
    case: str, model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    damage, message = SEEN_AT_ONCE[case]
    damage(model)
    code, said, error = run(tmp_path, model, calibration_text)
    assert error == message.format(model=model)
    assert f"error: tiny-auto: {error}" in said
    assert code == 3
    assert not (tmp_path / "out" / "log.txt").exists()


@pytest.mark.parametrize("case", SEEN_WHEN_READ)
def test_damaged_weights_are_told_when_they_are_read(
    case: str, model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    damage, message = SEEN_WHEN_READ[case]
    damage(model)
    code, said, error = run(tmp_path, model, calibration_text)
    assert error == message
    assert message.splitlines()[0] in said
    assert code == 3


def test_a_tokenizer_that_cannot_be_loaded_is_told(
    model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    quantize = [{"method": "gptq", "bits": 4}]
    code, _, error = run(tmp_path, model, calibration_text, quantize=quantize)
    assert error is not None
    first, hint = error.splitlines()
    assert first == f"{model}: the tokenizer cannot be loaded: tokenizer.json holds no tokenizer"
    assert hint.startswith("  Fetch the tokenizer's files again")
    assert code == 3


def test_too_little_calibration_text_is_an_error_in_a_manifest(tiny: Path, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Hello there.", encoding="utf-8")
    code, _, error = run(tmp_path, tiny, text, quantize=[{"method": "gptq", "bits": 4}])
    assert error is not None
    lines = error.splitlines()
    assert lines[0].endswith(" tokens, one sequence needs 64")
    assert lines[1] == "  Give more text, or ask for a smaller sequence_length."
    assert code == 3


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused_with_the_reason(
    device: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.fail("this test is for machines without CUDA")
    code, said, error = run(tmp_path, tiny, calibration_text, "--device", device)
    reason = (
        "PyTorch was installed without CUDA"
        if device == "cuda" and torch.version.cuda is None
        else f"PyTorch {torch.__version__} finds no such device here"
    )
    assert error == f"device {device}: {reason}\n  Available: cpu, auto."
    assert f"device {device}: {reason}" in said
    assert code == 2


def test_no_such_model_folder_is_told_with_its_place(calibration_text: Path, tmp_path: Path) -> None:
    path = manifest(tmp_path, tmp_path / "missing", calibration_text, FASTEST)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "missing" in text)
    done = command("run", path, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {path}:{line}:7: models[0].id: no such folder: `{tmp_path / 'missing'}`.\n"
    )
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written_is_refused(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    done = command("run", path, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --output: {tmp_path / 'out'} cannot be written: Not a directory\n"
        "  Choose another folder with --output.\n"
    )


def test_a_place_to_publish_that_is_a_file_is_refused_before_anything_is_computed(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    (tmp_path / "published").write_text("a file", encoding="utf-8")
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    done = command("run", path, "--output", "out", cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr == f"error: publish.path: {tmp_path / 'published'} is not a folder\n"


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of that size. Where the tests do not run as root, sudo mounts it, as on GitHub's runners."""
    folder.mkdir()
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={kilobytes}k,uid={os.geteuid()},gid={os.getegid()}"
    mount = [*root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run([*root, "umount", str(folder)], check=True)


@pytest.mark.linux
@pytest.mark.parametrize(
    "kilobytes",
    [
        pytest.param(400, id="while tensors are written"),
        pytest.param(700, id="while the checkpoint is reloaded"),
    ],
)
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    kilobytes: int, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        done = command("run", path, "--output", disk / "out", cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert "No space left on device" in done.stderr
        assert "Free some space or choose another folder with --output" in done.stderr
        (cell,) = report(disk / "out").values()
        assert cell["status"] == "failed"
        assert "cannot be written: No space left on device" in cell["error"]
        assert cell["code"] == "checkpoint"
        left = {p.name for p in (disk / "out").iterdir()}
        assert left - {"log.txt", cell["id"]} == {".state", "report.html", "report.json"}
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        again = command("run", path, "--output", disk / "out", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert [p.name for p in (disk / "out" / ".state").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("words", "more", "message"),
    [
        (
            ["--executor", "docker"],
            {},
            "error: --executor docker: no Docker engine answers: No such file or directory\n"
            "  `docker version` has to show a server: start it, join the group `docker`, or set DOCKER_HOST "
            "where it listens elsewhere. --executor local needs none.\n",
        ),
        (
            ["--memory", "8g"],
            {},
            "error: --memory belongs to --executor docker\n",
        ),
        (
            [],
            {"publish": {"to": "hub", "namespace": "acme"}},
            "error: publish.to: hub needs a token with write access, and there is none\n"
            "  Set HF_TOKEN_WRITE (or HF_TOKEN), give the workflow's job the permission `id-token: write` "
            "and the repository a trusted publisher, or publish into a folder with `to: directory`.\n",
        ),
        (
            ["--only", "tiny-bnb-9bit"],
            {},
            "error: --only: there is no cell `tiny-bnb-9bit`. Perhaps you meant `tiny-bnb-8bit`?\n"
            "  The cells are: tiny-bnb-8bit.\n",
        ),
    ],
    ids=["docker without an engine", "memory without docker", "hub without a token", "only"],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(
    words: list[str],
    more: dict[str, Any],
    message: str,
    tiny: Path,
    calibration_text: Path,
    tmp_path: Path,
) -> None:
    path = manifest(tmp_path, tiny, calibration_text, FASTEST, **more)
    env = environment(HF_HOME=str(tmp_path), HF_TOKEN_PATH=str(tmp_path / "no-token"))
    env["DOCKER_HOST"] = f"unix://{tmp_path}/no-engine.sock"
    env.pop("HF_TOKEN", None)
    env.pop("HUGGING_FACE_HUB_TOKEN", None)
    done = command("run", path, "--output", "out", *words, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stderr == message
    assert not (tmp_path / "out").exists()


def test_foreign_code_needs_the_docker_executor(tiny: Path, calibration_text: Path, tmp_path: Path) -> None:
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["models"][0] |= {"id": "acme/model", "trust_remote_code": True, "revision": "0" * 40}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = command("run", path, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: acme/model: trust_remote_code runs code of the model's author, "
        "which needs --executor docker\n"
        "  Remove trust_remote_code, or add --executor docker.\n"
    )
    assert not (tmp_path / "out").exists()


def test_every_model_is_told_of_and_the_summary_too(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    """A device that is not here ends the run with 2; report and step summary say why all the same."""
    path = manifest(tmp_path, tiny, calibration_text, FIVE)
    summary = tmp_path / "summary.md"
    done = command(
        *("run", path, "--output", "out", "--device", "mps"),
        cwd=tmp_path,
        env=environment(GITHUB_STEP_SUMMARY=str(summary)),
    )
    assert done.returncode == 2
    cells = report(tmp_path / "out")
    assert len(cells) == 5
    assert {cell["status"] for cell in cells.values()} == {"failed"}
    assert all(cell_id in summary.read_text(encoding="utf-8") for cell_id in cells)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "error: {job} cannot be read: No such file or directory\n"),
        ("{", f"error: {{job}} is not JSON: {NOT_JSON}\n"),
        (
            json.dumps({"version": 1, "id": "x"}),
            "error: {job}: $: 'model' is a required property\n"
            "{job}: $: 'device' is a required property\n"
            "{job}: $: 'cells' is a required property\n"
            "{job}: $: 'output' is a required property\n"
            "  The form is in schemas/job.schema.json.\n",
        ),
    ],
    ids=["missing", "no JSON", "wrong"],
)
def test_a_bad_job_file_is_told(text: str | None, message: str, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    if text is not None:
        job.write_text(text, encoding="utf-8")
    done = command("job", job, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == message.format(job=job)


def test_a_job_file_runs_by_hand(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    job = {
        "version": 1,
        "id": "by-hand",
        "model": {"path": str(tiny), "name": "tiny", "revision": "sha256:0"},
        "device": "cpu",
        "cells": [{"id": "tiny-bnb-8bit", "settings": {"method": "bitsandbytes", "bits": 8}}],
        "output": "made",
    }
    write_json(tmp_path / "job.json", job)
    done = command("job", "job.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "tiny-bnb-8bit" / "model.safetensors").is_file()
    result = read_json(tmp_path / "made" / "result.json")
    assert result["cells"]["tiny-bnb-8bit"]["reload"]["generated"]
