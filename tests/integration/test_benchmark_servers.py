"""`benchmark` through a server, in real processes and over real connections.

llama.cpp's own server where it is installed; else, and for what goes wrong, a program that answers as it
does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ExitCode
from quantize_lib.files import read_json, write_json
from quantize_lib.gguf_file.writer import write_file
from quantize_lib.schemas import load_schema
from tests.support.model_server import ENVIRONMENT_FILE, install
from tests.support.resuming import running, said, wait_until
from tests.support.small_runs import command, environment, save_tiny_type
from tests.support.small_tokenizer import save_tokenizer

SMALL = [
    *("--prompt-lengths", "8", "--batch-sizes", "1", "3", "--new-tokens", "6", "--rounds", "1"),
    *("--repeats", "2", "--device", "cpu"),
]
ASKED = ("whole", "fails", "leaves", "refuses")


def save_file(folder: Path, model: str) -> Path:
    """A checkpoint of one file that no server could read, named for what the program is to do."""
    save_tokenizer(folder, ["The capital of France is Paris. " * 20])
    quantization = {"quant_method": "gguf", "gguf_file": f"{model}.gguf"}
    write_json(folder / "config.json", {"model_type": "llama", "quantization_config": quantization})
    (folder / f"{model}.gguf").write_bytes(b"GGUF")
    return folder


def through(program: Path) -> list[str]:
    """The words that measure through a program, and no loader."""
    return ["--through", "llama.cpp", "--server", f"llama.cpp={program}"]


def is_running(process: int) -> bool:
    """Whether a process is there; one that ended and waits for its parent is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]]:
    """A server that works, one that does not come up, one that goes away and one that refuses, in turns."""
    folder = tmp_path_factory.mktemp("servers")
    for name in ASKED:
        save_file(folder / name, name)
    words = [*ASKED, *SMALL, *through(install(folder / "bin")), "--output-dir", "figures"]
    done = command("benchmark", *words, cwd=folder, env=environment(HF_TOKEN="hf_secret"))
    return folder, done, read_json(folder / "figures" / "benchmark.json")


def test_what_a_server_streams_is_measured_though_others_fail(
    measured: tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    folder, done, document = measured
    assert done.returncode == ExitCode.CELL_FAILED
    Draft202012Validator(load_schema("benchmark")).validate(document)
    whole = document["checkpoints"][0]
    assert (whole["name"], whole["through"]) == ("whole (llama.cpp)", "llama.cpp")
    assert (whole["status"], whole["loader"], whole["device"]) == ("measured", "llama.cpp b0-test", "cpu")
    assert whole["load_seconds"]["median"] > 0.2
    assert whole["peak_memory_bytes"]["median"] > 5e6
    assert [len(case["tokens_per_second"]["values"]) for case in whole["cases"]] == [2, 2]
    # Six tokens take at least 4 ms each two of them, for as many prompts as there are.
    one, three = (case["tokens_per_second"]["median"] for case in whole["cases"])
    assert 0 < one < 600
    assert 0 < three < 1800
    assert "loaded by llama.cpp b0-test." in (folder / "figures" / "benchmark.html").read_text("utf-8")


def test_what_went_wrong_is_told_with_what_the_server_printed_last(
    measured: tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    folder, done, document = measured
    fails, leaves, refuses = document["checkpoints"][1:]
    assert fails["error"] == (
        "its server ended with exit code 1 before it was ready (error loading model: it is damaged)"
    )
    assert leaves["error"].startswith("its server ended with exit code 3 while it was measured (")
    assert refuses["error"].endswith(
        "the server answered 400: the request exceeds the available context size"
    )
    logs = sorted((folder / "figures" / "logs").iterdir())
    assert [log.name for log in logs] == ["2-fails.log", "3-leaves.log", "4-refuses.log"]
    assert all(str(log.relative_to(folder)) in done.stderr for log in logs)


def test_a_server_gets_no_token_and_nothing_of_it_is_left(
    measured: tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    folder, _, _ = measured
    for name in ASKED:
        given = read_json(folder / name / ENVIRONMENT_FILE)
        assert not is_running(given["process"])
        assert "hf_secret" not in str(given)
        assert given["variables"]["HF_HUB_OFFLINE"] == "1"
        assert given["variables"]["LLAMA_API_KEY"] not in given["words"]


def test_an_interruption_leaves_no_server_running(tmp_path: Path) -> None:
    save_file(tmp_path / "model", "hangs")
    words = ["benchmark", "model", *SMALL, *through(install(tmp_path / "bin"))]
    noted = tmp_path / "model" / ENVIRONMENT_FILE
    with running(*words, cwd=tmp_path) as run:
        assert wait_until(noted.exists, run), said(tmp_path)
        run.terminate()
        assert run.wait(timeout=60) == ExitCode.INTERRUPTED, said(tmp_path)
    assert not is_running(read_json(noted)["process"])


@pytest.mark.llama_server
def test_llama_cpp_itself_serves_a_file_of_ours(tmp_path: Path, calibration_text: Path) -> None:
    folder = save_tiny_type("llama", tmp_path / "tiny", calibration_text, hidden_size=256)
    config = read_json(folder / "config.json")
    write_file(
        folder / "tiny-Q8_0.gguf",
        [folder / "model.safetensors"],
        base=folder,
        config=config,
        types={},
        name="tiny",
        file_type="Q8_0",
    )
    quantization = {"quant_method": "gguf", "gguf_file": "tiny-Q8_0.gguf"}
    write_json(folder / "config.json", {**config, "quantization_config": quantization})
    done = command("benchmark", folder, *SMALL, "--through", "llama.cpp", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    (one,) = read_json(tmp_path / "benchmark" / "benchmark.json")["checkpoints"]
    assert one["loader"].startswith("llama.cpp b")
    assert all(case["tokens_per_second"]["median"] > 0 for case in one["cases"])
