"""FP8, NVFP4 and MXFP4 checkpoints of small random models, loaded by plain transformers and compared with
what was meant, and the whole command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from quantize_lib.engine.rounded_inputs import round_inputs_of
from quantize_lib.files import read_json
from quantize_lib.formats import format_of_config
from quantize_lib.formats.compressed_base import DEQUANTIZE
from quantize_lib.methods import settings_of
from tests.support.quantizing import (
    assert_weights_are_those_meant,
    difference,
    load_checked,
    quantized_family,
)
from tests.support.rounding import Recording
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_model, save_tiny_type
from tests.support.unpacking import unpack_layer

EXACT = 1e-5
"""Largest difference of a logit, relative to the largest logit: float32 sums in another order."""
CODES = 2e-2
"""The same where an input's last bit can move it by a step of 8 bits."""
CELLS = {
    "fp8": settings_of("fp8", 8, {}),
    "fp8 in blocks": settings_of("fp8", 8, {"scales": "block"}),
    "nvfp4": settings_of("nvfp4", 4, {}),
    "mxfp4": settings_of("mxfp4", 4, {}),
}
FAMILIES = ("llama", "qwen2", "phi3", "gpt_neox", "opt")
TWO_DIMENSIONS = ("opt",)
"""Families that give some layers all tokens as rows, for which the package takes one scale."""


def _round_inputs(model: nn.Module, folder: Path, recording: Recording, blocks: str) -> None:
    chosen = format_of_config(read_json(folder / "config.json")["quantization_config"])
    assert chosen is not None
    rounding = chosen.rounds_inputs("llama")
    assert rounding is not None
    for index, made in recording.outputs.items():
        for name in made.layers:
            round_inputs_of(model.get_submodule(f"{blocks}.{index}.{name}"), rounding)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cell", CELLS)
def test_plain_transformers_loads_every_family_and_says_what_was_meant(
    cell: str, family: str, tmp_path: Path
) -> None:
    recording, blocks, expected = quantized_family(tmp_path, CELLS[cell], family)
    mode = DEQUANTIZE if CELLS[cell].bits == 8 else ""
    assert difference(load_checked(tmp_path / "cell", mode), expected) < EXACT
    if mode:
        loaded = load_checked(tmp_path / "cell")
        assert difference(loaded, expected) > EXACT
        _round_inputs(expected, tmp_path / "cell", recording, blocks)
        assert difference(loaded, expected) < (CODES if family not in TWO_DIMENSIONS else 5 * CODES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_in_16_bits_every_weight_is_the_one_that_was_meant_rounded_once(
    cell: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    recording, blocks, _ = quantized_family(tmp_path, CELLS[cell])
    for mode in ("", DEQUANTIZE) if CELLS[cell].bits == 8 else ("",):
        assert_weights_are_those_meant(tmp_path / "cell", mode, dtype, recording, blocks)


@pytest.mark.parametrize("cell", CELLS)
def test_one_other_code_would_be_noticed(cell: str, tmp_path: Path) -> None:
    _, _, expected = quantized_family(tmp_path, CELLS[cell])
    state = load_file(tmp_path / "cell" / "model.safetensors")
    eight = CELLS[cell].bits == 8
    codes = state[f"model.layers.1.mlp.up_proj.{'weight' if eight else 'weight_packed'}"].view(torch.uint8)
    codes[0, 0] ^= 0x80
    save_file(state, tmp_path / "cell" / "model.safetensors", metadata={"format": "pt"})
    assert difference(load_checked(tmp_path / "cell", DEQUANTIZE if eight else ""), expected) > EXACT


def test_the_command_makes_all_of_them_without_calibration_text(
    tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "model", calibration_text)
    cells = [
        {"method": "fp8", "bits": 8},
        {"method": "fp8", "bits": 8, "scales": "block", "name": "blocks"},
        {"method": "nvfp4", "bits": 4},
        {"method": "mxfp4", "bits": 4},
    ]
    manifest(
        tmp_path,
        model,
        calibration_text,
        cells,
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = report(tmp_path / "output")
    assert list(found) == ["tiny-fp8-8bit", "blocks", "tiny-nvfp4-4bit", "tiny-mxfp4-4bit"]
    base = load_file(model / "model.safetensors")
    for name, record in found.items():
        assert record["reload"]["reproduced"], name
        assert record["calibration"] is None
        assert record["format"] == "compressed-tensors"
        folder = tmp_path / "published" / name
        card = (folder / "README.md").read_text(encoding="utf-8")
        simulated = record["bits"] == 8
        assert ("Inputs of the quantized layers are rounded to 8 bits too" in card) == simulated
        assert ("Loaded so that the inputs of layers are not rounded: perplexity " in card) == simulated
        assert ("unrounded_inputs" in record["reload"]) == simulated
        if simulated:
            other = record["reload"]["unrounded_inputs"]
            assert other["kl_divergence"] != record["reload"]["sample_kl_divergence"]
            assert 0 < other["kl_divergence"] < 2 * record["reload"]["sample_kl_divergence"]
        # Loaded by plain transformers without our help.
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.inference_mode():
            loaded(input_ids=torch.arange(3, 11)[None])
        stored = load_file(folder / "model.safetensors")
        quantization = read_json(folder / "config.json")["quantization_config"]
        layer = "model.layers.1.mlp.down_proj"
        parts = {
            key.removeprefix(f"{layer}."): value for key, value in stored.items() if key.startswith(layer)
        }
        meant = unpack_layer(parts, quantization)
        assert torch.equal(loaded.get_parameter(f"{layer}.weight"), meant)
        error = float(
            (meant - base[f"{layer}.weight"].float()).norm() / base[f"{layer}.weight"].float().norm()
        )
        assert error < (0.03 if simulated else 0.15)


def test_experts_of_a_mixture_are_read_right_or_stay_in_full_precision(
    tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    model = save_tiny_type("qwen3_moe", tmp_path / "model", calibration_text)
    cells = [
        {"method": "fp8", "bits": 8},
        {"method": "mxfp4", "bits": 4},
        {"method": "nvfp4", "bits": 4, "allow_partial": True},
    ]
    manifest(tmp_path, model, calibration_text, cells, evaluate=evaluation(held_out_text))
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = report(tmp_path / "output")
    assert all(record["reload"]["reproduced"] for record in found.values())
    assert "transformers reads experts without the scale of their scales" in done.stderr


def test_blocks_that_do_not_fit_are_refused_before_the_download_with_the_way_out(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_type(
        "llama", tmp_path / "model", calibration_text, hidden_size=64, intermediate_size=96
    )
    manifest(tmp_path, model, calibration_text, [{"method": "fp8", "bits": 8, "scales": "block"}])
    done = command("plan", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 3
    assert "scales: channel takes every size" in done.stderr
