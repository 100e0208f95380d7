"""`bits: auto` through the whole command: sizes are kept, layers that share an input are alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from quantize_lib.files import read_json
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_model, save_tiny_type


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("auto")
    model = save_tiny_model(folder / "model", calibration_text)
    manifest(
        folder,
        model,
        calibration_text,
        [
            {"method": "gptq", "bits": "auto", "target_bits": 4},
            {"method": "awq", "bits": "auto", "target_bits": 3.5},
        ],
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )
    done = command("run", "quantize.yml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def cells(finished: tuple[Path, str]) -> dict[str, dict[str, Any]]:
    return report(finished[0] / "output")


def test_costs_are_measured_once_for_all_cells_of_one_grid(finished: tuple[Path, str]) -> None:
    assert finished[1].count("Measuring what bits cost") >= 1
    assert finished[1].count("bits by layer: ") == 2


def test_a_checkpoint_takes_no_more_than_was_asked_for_and_loads_as_it_was_measured(
    finished: tuple[Path, str],
) -> None:
    for name, cell in cells(finished).items():
        folder = finished[0] / "published" / name
        tensors = load_file(folder / "model.safetensors")
        packed = [
            tensor for key, tensor in tensors.items() if key.endswith((".weight_packed", ".weight_scale"))
        ]
        weights = sum(int(shape.prod()) for key, shape in tensors.items() if key.endswith(".weight_shape"))
        mean = sum(tensor.nbytes for tensor in packed) * 8 / weights
        assert cell["settings"]["target_bits"] - 0.5 < mean <= cell["settings"]["target_bits"]
        groups = read_json(folder / "config.json")["quantization_config"]["config_groups"].values()
        widths = {group["weights"]["num_bits"] for group in groups}
        assert widths == {layer["bits"] for layer in cell["layers"].values()}
        assert cell["reload"]["reproduced"]


def test_layers_of_one_input_have_one_scheme(finished: tuple[Path, str]) -> None:
    for cell in cells(finished).values():
        by_place: dict[str, set[tuple[int, int]]] = {}
        for name, layer in cell["layers"].items():
            place, _, last = name.rpartition(".")
            if last in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
                by_place.setdefault(place, set()).add((layer["bits"], layer["group_size"]))
        assert by_place
        assert all(len(schemes) == 1 for schemes in by_place.values())


def test_the_card_says_what_was_chosen(finished: tuple[Path, str]) -> None:
    card = (finished[0] / "published" / "tiny-gptq-auto-4bit" / "README.md").read_text(encoding="utf-8")
    assert "quantized to 4 bits on average with GPTQ" in card
    assert "Each layer has the bits by which the model loses least" in card
    assert "mixed-bits" in card


def test_a_second_run_finds_it_unchanged(finished: tuple[Path, str]) -> None:
    done = command("plan", "quantize.yml", cwd=finished[0])
    assert done.stdout.count("unchanged") == 2


def test_all_experts_of_a_mixture_have_one_scheme(tmp_path: Path, calibration_text: Path) -> None:
    model = save_tiny_type("qwen3_moe", tmp_path / "model", calibration_text)
    manifest(
        tmp_path,
        model,
        calibration_text,
        [{"method": "gptq", "bits": "auto", "target_bits": 4, "name": "mixture"}],
    )
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layers = report(tmp_path / "output")["mixture"]["layers"]
    experts = {(one["bits"], one["group_size"]) for name, one in layers.items() if ".experts." in name}
    assert len(experts) == 1
