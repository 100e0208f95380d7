"""`benchmark` in real processes: what is measured, and what is left of it where something fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ExitCode
from quantize_lib.files import read_json, write_json
from quantize_lib.schemas import load_schema
from tests.support.small_runs import (
    FASTEST,
    ROOT,
    command,
    environment,
    manifest,
    save_tiny_model,
)

SMALL = ["--prompt-lengths", "8", "4", "--batch-sizes", "1", "2", "--new-tokens", "4", "--seed", "3"]
ONCE = ["--rounds", "1", "--repeats", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model, a run with a checkpoint of it, one without weights, and one with code of its own."""
    folder = tmp_path_factory.mktemp("benchmark")
    model = save_tiny_model(folder / "tiny", calibration_text)
    done = command("run", manifest(folder, model, calibration_text, FASTEST), cwd=folder)
    assert done.returncode == ExitCode.OK, done.stderr
    config = read_json(model / "config.json")
    write_json(folder / "damaged" / "config.json", config)
    code = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    write_json(folder / "foreign" / "config.json", config | {"model_type": "foreign", "auto_map": code})
    (folder / "foreign" / "code.py").write_text(f"open({str(folder / 'was-run')!r}, 'w')\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        for copy in ("damaged", "foreign"):
            (folder / copy / name).write_bytes((model / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """All of them, measured together."""
    (folder / "prompts.txt").write_text("The capital of France\nOnce upon a time there was\n")
    done = command(
        *("benchmark", "output", "damaged", "foreign", "--prompts-file", "prompts.txt", "--num-prompts", "2"),
        *(*SMALL, *ONCE, "--output-dir", "figures"),
        cwd=folder,
    )
    return done, read_json(folder / "figures" / "benchmark.json")


def test_a_checkpoint_is_measured_beside_its_base_though_others_fail(
    measured: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done, document = measured
    assert done.returncode == ExitCode.CELL_FAILED
    Draft202012Validator(load_schema("benchmark")).validate(document)
    base, checkpoint, *others = document["checkpoints"]
    assert [one["status"] for one in (base, checkpoint, *others)] == ["measured"] * 2 + ["failed"] * 2
    assert checkpoint["base"] == base["name"] == "tiny"
    assert checkpoint["name"] == "tiny-bnb-8bit"
    assert checkpoint["loader"] == "transformers"
    for one in (base, checkpoint):
        assert one["peak_memory_bytes"]["median"] > one["model_memory_bytes"]["median"] > 0
        assert [(case["prompt_length"], case["batch_size"]) for case in one["cases"]] == [
            *((4, 1), (4, 2)),
            *((8, 1), (8, 2)),
        ]
        for case in one["cases"]:
            assert len(case["tokens_per_second"]["values"]) == 2
            assert min(case["first_token_seconds"]["values"]) > 0
    assert checkpoint["reduction"]["by_bits"] == 2.0
    assert checkpoint["reduction"]["size"] > 1
    assert document["prompts"]["source"] == "prompts.txt"
    assert len(document["prompts"]["texts"]) == 2


def test_what_failed_is_said_with_its_log_and_nothing_else_has_one(
    folder: Path, measured: tuple[subprocess.CompletedProcess[str], dict[str, Any]]
) -> None:
    done, document = measured
    log, _ = sorted((folder / "figures" / "logs").iterdir())
    assert document["checkpoints"][2]["error"].startswith("it cannot be loaded (")
    assert f"error: damaged: {document['checkpoints'][2]['error']}" in done.stderr
    assert str(log.relative_to(folder)) in done.stderr
    assert "no file named model.safetensors" in log.read_text()


def test_a_class_in_the_models_own_folder_is_not_run(
    folder: Path, measured: tuple[subprocess.CompletedProcess[str], dict[str, Any]]
) -> None:
    _, document = measured
    foreign = document["checkpoints"][3]
    assert foreign["error"] == (
        "its class is code of the model's author (config.json: auto_map), which is not run here"
    )
    assert not (folder / "was-run").exists()


def test_the_table_and_the_page_have_both_beside_each_other(
    folder: Path, measured: tuple[subprocess.CompletedProcess[str], dict[str, Any]]
) -> None:
    done, document = measured
    page = (folder / "figures" / "benchmark.html").read_text(encoding="utf-8")
    size = document["checkpoints"][1]["reduction"]["size"]
    assert f"{size:.2f}×" in done.stdout
    assert f"{size:.2f}× smaller" in page
    assert page.count("<svg ") == 2 + 2 * 2


def test_what_was_measured_before_an_interruption_is_kept(folder: Path) -> None:
    words = [*("benchmark", "output", *SMALL, "--rounds", "50", "--repeats", "1", "--output-dir", "ended")]
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "entrypoint.py"), *words],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    path = folder / "ended" / "benchmark.json"
    end = time.monotonic() + 200
    while not path.exists() and time.monotonic() < end and running.poll() is None:
        time.sleep(0.2)
    os.kill(running.pid, signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == ExitCode.INTERRUPTED, said
    base = read_json(path)["checkpoints"][0]
    assert base["cases"][3]["tokens_per_second"] is not None
    assert (folder / "ended" / "benchmark.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "error: nowhere is no checkpoint and no run's output"),
        (["tiny", "--prompts", "empty.txt"], "error: --prompts: there is no prompt in empty.txt"),
        (["tiny", "--new-tokens", "1"], "error: --new-tokens is 1"),
        (["tiny", "--prompt-lengths", "0"], "'0' is not a positive whole number"),
        (["tiny", "--output-dir", "empty.txt"], "error: --output-dir: empty.txt cannot be made"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    folder: Path, words: list[str], message: str
) -> None:
    (folder / "empty.txt").touch()
    done = command("benchmark", *words, cwd=folder)
    assert done.returncode == ExitCode.USAGE
    assert message in done.stderr
    assert not (folder / "benchmark").exists()
