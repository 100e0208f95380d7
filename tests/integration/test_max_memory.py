"""`run --max-memory`: activations go to disk where they do not fit, and a job that cannot fit is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from quantize_lib.files import read_json
from tests.support.resuming import contents, figures, running, said, wait_until
from tests.support.small_runs import command, evaluation, manifest, save_tiny_model

CELLS = [{"method": "gptq", "bits": 4}, {"method": "bitsandbytes", "bits": 4}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("bounded") / "tiny", calibration_text)


def planned(path: Path, folder: Path) -> tuple[int, int]:
    """Peak memory of the one job, and the part of it that it can do without."""
    done = command("plan", path, "--format", "json", cwd=folder)
    estimate = json.loads(done.stdout)["jobs"][0]["estimate"]
    return int(estimate["peak_memory_bytes"]), int(estimate["activation_bytes"])


def test_with_activations_on_disk_every_file_and_figure_is_the_same(
    model: Path, tmp_path: Path, calibration_text: Path
) -> None:
    path = manifest(tmp_path, model, calibration_text, CELLS, evaluate=evaluation(calibration_text))
    words = ("run", path, "--no-publish", "--output")
    assert command(*words, tmp_path / "free", cwd=tmp_path).returncode == 0
    peak, spared = planned(path, tmp_path)
    # The embedding's, which only spilled states have a file for.
    embedded = tmp_path / "bounded/.state/jobs/tiny-auto/.passes/1/hidden-00000.safetensors"
    with running(*words, tmp_path / "bounded", "--max-memory", str(peak - spared), cwd=tmp_path) as run:
        assert wait_until(embedded.exists, run), said(tmp_path)
        assert run.wait(timeout=300) == 0, said(tmp_path)
    assert "activations are kept on disk: with them" in said(tmp_path)
    assert contents(tmp_path / "bounded") == contents(tmp_path / "free")
    assert figures(tmp_path / "bounded") == figures(tmp_path / "free")
    assert not list((tmp_path / "bounded").rglob("hidden-*"))
    # A little less than everything: no block is calibrated ahead, and nothing has to go to disk.
    with running(*words, tmp_path / "in-turn", "--max-memory", str(peak - 1), cwd=tmp_path) as run:
        assert run.wait(timeout=300) == 0, said(tmp_path)
    assert "activations are kept on disk" not in said(tmp_path)
    assert contents(tmp_path / "in-turn") == contents(tmp_path / "free")


def test_a_job_that_cannot_fit_is_refused_before_anything_is_computed(
    model: Path, tmp_path: Path, calibration_text: Path
) -> None:
    path = manifest(tmp_path, model, calibration_text, CELLS)
    done = command("run", path, "--output", tmp_path / "out", "--max-memory", "100m", cwd=tmp_path)
    assert done.returncode == 2
    need = re.search(
        r"the job needs about ([\d.]+) MB of memory even with its activations on disk", done.stderr
    )
    assert need is not None, done.stderr
    assert 400 < float(need[1]) <= planned(path, tmp_path)[0] / 1e6
    assert "104.9 MB" in done.stderr
    assert "--max-memory" in done.stderr
    assert "Quantizing" not in done.stderr
    assert read_json(tmp_path / "out" / "report.json")["cells"][0]["status"] == "failed"


def test_the_limit_of_a_job_file_is_kept_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "job.json").write_text(
        json.dumps(
            {
                "version": 1,
                "id": "tiny",
                "model": {"path": str(model), "name": "tiny", "revision": "sha256:0"},
                "device": "cpu",
                "cells": [{"id": "tiny-bnb-8bit", "settings": {"method": "bitsandbytes", "bits": 8}}],
                "output": "out",
                "max_memory": 1000,
            }
        ),
        encoding="utf-8",
    )
    done = command("job", tmp_path / "job.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "may have 1.0 kB" in done.stderr


def test_the_limit_is_for_the_local_executor(model: Path, tmp_path: Path, calibration_text: Path) -> None:
    path = manifest(tmp_path, model, calibration_text, CELLS)
    done = command("run", path, "--executor", "docker", "--max-memory", "8g", cwd=tmp_path)
    assert done.returncode == 2
    assert "A container's limit is --memory." in done.stderr
