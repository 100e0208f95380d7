"""A new method is one new file: the whole command with a toy that the package does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.files import read_json
from tests.support.small_runs import manifest, save_tiny_model
from tests.support.toy_package import ToyPackage

CELLS: list[dict[str, Any]] = [
    {"method": "nearest", "bits": [4, 8]},
    {"method": "nearest", "bits": 4, "format": "gptq", "stretch": 2, "name": "stretched"},
]
IDS = ["tiny-rtn-4bit", "tiny-rtn-8bit", "stretched"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ToyPackage:
    return ToyPackage(tmp_path_factory.mktemp("package") / "copy", method="methods/toy.py")


@pytest.fixture(scope="module")
def run(
    package: ToyPackage,
    tmp_path_factory: pytest.TempPathFactory,
    calibration_text: Path,
    held_out_text: Path,
) -> Path:
    """The folder of a finished run of the toy's cells."""
    folder = tmp_path_factory.mktemp("toy-method")
    model = save_tiny_model(folder / "tiny", calibration_text)
    held_out = {"files": [str(held_out_text)], "samples": 2, "sequence_length": 64}
    manifest(
        folder, model, calibration_text, CELLS, evaluate={"perplexity": held_out, "max_kl_divergence": 5}
    )
    done = package.run("run", "quantize.yml", "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_toy_method_goes_through_the_whole_command(package: ToyPackage, run: Path) -> None:
    cells = {cell["id"]: cell for cell in read_json(run / "out" / "report.json")["cells"]}
    assert {cell: words["status"] for cell, words in cells.items()} == dict.fromkeys(IDS, "published")
    assert cells["tiny-rtn-4bit"]["format"] == "compressed-tensors"
    assert cells["stretched"]["format"] == "gptq"
    assert cells["stretched"]["settings"]["stretch"] == 2
    assert all(cell["reload"]["reproduced"] for cell in cells.values())
    assert cells["tiny-rtn-8bit"]["kl_divergence"] < cells["tiny-rtn-4bit"]["kl_divergence"]
    assert package.others() == []


def test_a_toy_methods_estimate_is_near_what_it_takes(package: ToyPackage, run: Path) -> None:
    done = package.run("plan", "quantize.yml", "--format", "json", cwd=run)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    sizes = {cell["id"]: cell["size_after"] for cell in read_json(run / "out" / "report.json")["cells"]}
    for cell in job["cells"]:
        assert cell["estimate"]["checkpoint_bytes"] == pytest.approx(sizes[cell["id"]], rel=0.1)
        assert cell["change"]["reasons"] == ["unchanged"]


def test_a_toy_methods_card_says_what_it_is(run: Path) -> None:
    card = (run / "published" / "stretched" / "README.md").read_text(encoding="utf-8")
    assert "with Rounding to nearest" in card
    assert "| stretch of the scales | 2 |" in card
    assert "- rtn" in card


def test_a_toy_methods_mistakes_are_told(package: ToyPackage, run: Path) -> None:
    (run / "wrong.yml").write_text(
        "version: 1\nmodels:\n  - id: ./tiny\n"
        "    quantize: [{method: nearest, bits: 3, stretch: 0, sym: true}]\n"
    )
    done = package.run("validate", "wrong.yml", cwd=run)
    assert done.returncode == 2
    assert "bits: 3 is not allowed for nearest (that will do for a toy). Allowed: 4, 8." in done.stderr
    assert "stretch: 0 is less than 1, the smallest that is allowed." in done.stderr
    assert "sym: not a setting of nearest (it belongs to gptq)." in done.stderr


def test_the_command_lines_form_takes_a_toy_method(package: ToyPackage, run: Path) -> None:
    done = package.run("./tiny", "--method", "nearest", "--bits", "4", "--output-dir", "one", cwd=run)
    assert done.returncode == 0, done.stderr
    assert (
        read_json(run / "one" / "config.json")["quantization_config"]["quant_method"] == "compressed-tensors"
    )
