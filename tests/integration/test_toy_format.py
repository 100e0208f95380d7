"""A new format is one new file: the whole command with a toy that the package does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantize_lib.files import read_json
from tests.support.small_runs import manifest, save_tiny_model
from tests.support.toy_package import ToyPackage

CELLS: list[dict[str, Any]] = [
    {"method": "gptq", "bits": 4, "format": "bytes", "sym": False, "name": "gptq-bytes"},
    {"method": "awq", "bits": 3, "format": "bytes", "name": "awq-bytes"},
]


def test_a_toy_format_goes_through_the_whole_command(
    tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    package = ToyPackage(tmp_path / "copy", format="formats/toy.py")
    folder = tmp_path / "work"
    model = save_tiny_model(folder / "tiny", calibration_text)
    held_out = {"files": [str(held_out_text)], "samples": 2, "sequence_length": 64}
    manifest(
        folder, model, calibration_text, CELLS, evaluate={"perplexity": held_out, "max_kl_divergence": 5}
    )
    done = package.run("run", "quantize.yml", "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    cells = {cell["id"]: cell for cell in read_json(folder / "out" / "report.json")["cells"]}
    assert {cell: words["status"] for cell, words in cells.items()} == {
        "gptq-bytes": "published",
        "awq-bytes": "published",
    }
    for name, cell in cells.items():
        assert cell["format"] == cell["settings"]["format"] == "bytes"
        assert cell["reload"]["reproduced"]
        card = (folder / "published" / name / "README.md").read_text(encoding="utf-8")
        assert "Nobody but this test loads it." in card
    assert "format: bytes" not in (package.folder / "quantize_lib" / "formats" / "gptq.py").read_text()
    assert package.others() == []


def test_a_toy_format_is_refused_where_it_does_not_fit(tmp_path: Path) -> None:
    package = ToyPackage(tmp_path / "copy", format="formats/toy.py")
    (tmp_path / "quantize.yml").write_text(
        "version: 1\nmodels:\n  - id: acme/m\n"
        "    quantize: [{method: bitsandbytes, bits: 4, format: bytes}]\n"
    )
    done = package.run("validate", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 2
    assert "format: `bytes` is not a format of bitsandbytes. Allowed: auto, bitsandbytes." in done.stderr
