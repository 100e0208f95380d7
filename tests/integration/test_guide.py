"""The form for one model, as the guide that users come from has it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from quantize_lib.files import read_json
from tests.support.hub import Hub, serve
from tests.support.small_runs import command, environment, save_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model. Read only."""
    return save_tiny_model(tmp_path_factory.mktemp("guide") / "tiny", calibration_text)


def quantization(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself to loaders."""
    config: dict[str, Any] = read_json(folder / "config.json")["quantization_config"]
    return config


def test_gptq_with_every_option_of_the_guide(tiny: Path, tmp_path: Path) -> None:
    """Two sentences are far too little calibration: a warning, and a line in the card."""
    done = command(
        *(tiny, "--bits", "4", "--method", "gptq", "--output-dir", "tiny-gptq-4bit", "--device", "cpu"),
        *("--calibration-dataset", "This is a sample text,This is another sample"),
        *("--group-size", "64", "--desc-act", "--no-sym"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: calibration: 2 texts gives 1 sequences of " in done.stderr
    assert f"The checkpoint is in {tmp_path / 'tiny-gptq-4bit'}" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny-gptq-4bit"]
    config = quantization(tmp_path / "tiny-gptq-4bit")
    assert (config["quant_method"], config["bits"]) == ("gptq", 4)
    assert (config["group_size"], config["desc_act"], config["sym"]) == (64, True, False)
    card = (tmp_path / "tiny-gptq-4bit" / "README.md").read_text(encoding="utf-8")
    assert "less text than was asked for" in card


def test_gptq_in_8_bits_into_the_cells_id_is_the_default(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    done = command(tiny, "--calibration-dataset", calibration_text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = quantization(tmp_path / "tiny-gptq-8bit")
    assert (config["quant_method"], config["bits"]) == ("gptq", 8)
    assert (config["desc_act"], config["sym"]) == (False, True)


C4_CARD = b"""---
configs:
- config_name: en
  data_files:
  - split: train
    path: c4-train.json
---
"""


def test_c4_is_read_from_the_hub(tiny: Path, held_out_text: Path, tmp_path: Path) -> None:
    """As the guide has it, against a server on the loopback address; a data set that is gone is told."""
    documents = held_out_text.read_text(encoding="utf-8").splitlines()
    rows = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in documents * 40)
    files = {"README.md": C4_CARD, "c4-train.json": rows}
    with serve(Hub()) as hub:
        commit = hub.add_dataset("allenai/c4", files).head
        env = environment(**hub.environment(tmp_path / "home"))
        words = (tiny, "--bits", "4", "--output-dir", "made", "--calibration-dataset")
        done = command(*words, "c4", cwd=tmp_path, env=env)
        gone = command(*words, "acme/gone", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    record = read_json(tmp_path / "made" / "quantization_report.json")["calibration"]
    assert (record["dataset"], record["revision"]) == ("allenai/c4", commit)
    assert record["samples"] == 128
    assert "datasets:\n- allenai/c4\n" in (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    assert gone.returncode == 3
    assert "acme/gone" in gone.stderr
    assert "Local text works too" in gone.stderr


def test_awq_in_4_bits(tiny: Path, calibration_text: Path, tmp_path: Path) -> None:
    words = ("--bits", "4", "--method", "awq", "--output-dir", "made/here")
    done = command(tiny, *words, "--calibration-dataset", calibration_text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = quantization(tmp_path / "made" / "here")
    assert (config["quant_method"], config["bits"]) == ("awq", 4)


def test_bitsandbytes_replaces_its_own_earlier_checkpoint_and_a_folder_may_be_named_as_a_command(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "plan").symlink_to(tiny, target_is_directory=True)
    earlier = tmp_path / "made"
    earlier.mkdir()
    (earlier / "quantization_report.json").write_text("{}", encoding="utf-8")
    (earlier / "old.safetensors").write_bytes(b"")
    words = ("./plan", "--method", "bitsandbytes", "--output-dir", "made", "--bits", "8")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert quantization(tmp_path / "made")["load_in_8bit"] is True
    assert not (earlier / "old.safetensors").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["made", "plan"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--method bitsandbytes --bits 3",
            "--bits: 3 is not allowed for bitsandbytes (it has NF4 and FP4 in 4 bits and LLM.int8 in 8 "
            "bits). Allowed: 4, 8.",
        ),
        (
            "--method awq --bits 8",
            "--bits: 8 is not allowed for awq (AWQ's GEMM format has kernels for 4 bits only). Allowed: 4. "
            "Another format may do: `gptq`, `compressed-tensors`.",
        ),
        (
            "--method awq --bits 4 --format bitsandbytes",
            "--format: `bitsandbytes` is not a format of awq. Allowed: auto, awq, gptq, compressed-tensors.",
        ),
        (
            "--method bitsandbytes --bits 4 --group-size 64",
            "--group-size: not a setting of bitsandbytes (its block sizes are fixed; it belongs to gptq and "
            "awq).",
        ),
        (
            "--method awq --bits 4 --desc-act",
            "--desc-act: not a setting of awq (AWQ keeps the order of the columns; it belongs to gptq).",
        ),
        (
            "--method bitsandbytes --bits 8 --no-sym",
            "--no-sym: not a setting of bitsandbytes (it belongs to gptq).",
        ),
        (
            "--group-size 48",
            "--group-size: 48 is not a group size that the loaders' kernels take. "
            "Allowed: auto, -1, 16, 32, 64, 128.",
        ),
    ],
    ids=lambda value: value if value.count(":") == 0 else "",
)
def test_what_a_method_does_not_take_is_refused_with_the_reason(
    words: str, message: str, tiny: Path, tmp_path: Path
) -> None:
    done = command(tiny, *words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_ours_is_not_replaced(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    words = ("--method", "bitsandbytes", "--bits", "8", "--output-dir", "mine")
    done = command(tiny, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --output-dir: {tmp_path / 'mine'} is there already, and is no checkpoint of this tool\n"
        "  Choose another folder, or remove it.\n"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_a_run_that_fails_leaves_nothing_but_a_log_and_says_where_that_is(tiny: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny, tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = 100_000
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    words = ("--method", "bitsandbytes", "--bits", "8", "--output-dir", "made")
    done = command(model, *words, cwd=tmp_path)
    assert done.returncode == 3
    assert "mlp.down_proj has weights beyond 65504, which LLM.int8 cannot hold" in done.stderr
    left = {entry.name for entry in tmp_path.iterdir()} - {"model"}
    assert left <= {".made.log"}
    log = tmp_path / ".made.log"
    assert (f"What the libraries printed is in {log}" in done.stderr) == log.exists()


def test_a_typing_mistake_is_not_taken_for_a_model(tmp_path: Path) -> None:
    done = command("valdate", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "'valdate' is neither a command nor a model folder. Perhaps you meant `validate`?\n"
    )
