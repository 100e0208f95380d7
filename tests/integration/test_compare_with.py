"""Other builds of a base model are measured beside its checkpoints, and shown wherever those are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.small_runs import FASTEST, command, evaluation, manifest, report, save_tiny_model


def test_another_build_gets_the_figures_that_its_own_run_gave_it_and_a_faulty_one_stops_nothing(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    made = {"method": "gptq", "bits": 4, "group_size": 16, "effort": "fast"}
    manifest(tmp_path, model, calibration_text, [made], evaluate=evaluation(calibration_text))
    done = command("run", "quantize.yml", "--no-publish", "--output", "first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (own,) = report(tmp_path / "first").values()
    other = tmp_path / "first" / own["path"]
    faulty = shutil.copytree(other, tmp_path / "faulty")
    config = json.loads((faulty / "config.json").read_text())
    config["quantization_config"]["bits"] = 8
    (faulty / "config.json").write_text(json.dumps(config))

    compared = evaluation(calibration_text, compare_with=[f"./first/{own['path']}", "./faulty"])
    compared["texts"] = {"again": {**evaluation(calibration_text)["perplexity"], "samples": 2}}
    del compared["texts"]["again"]["sequence_length"]
    manifest(tmp_path, model, calibration_text, FASTEST, evaluate=compared)
    done = command("run", "quantize.yml", "--no-publish", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "./faulty is not compared with: it cannot be loaded (" in done.stdout + done.stderr
    (cell,) = report(tmp_path / "output").values()
    found = cell["builds"][f"./first/{own['path']}"]
    assert found["fault"] is None
    assert found["size"] == own["size_after"]
    assert found["revision"].startswith("sha256:")
    for metric in ("perplexity", "kl_divergence"):
        # The pass computes with exact weights, and a kernel of GPTQModel's in bfloat16.
        expected = own["figures"][metric]["after"]
        assert found["figures"][metric]["after"] == pytest.approx(expected, rel=0.03)
    assert found["figures"]["perplexity"]["before"] == pytest.approx(own["perplexity_before"], rel=1e-4)
    assert set(found["texts"]) == {"again"}
    assert cell["builds"]["./faulty"]["fault"].startswith("it cannot be loaded (")

    card = (tmp_path / "output" / cell["id"] / "README.md").read_text()
    assert f"| <code>./first/{own['path']}</code>, by others |" in card.replace("&#95;", "_").replace(
        "&#45;", "-"
    )
    assert "is paired by sequence." in card
    assert "<code>./faulty</code> could not be measured: " in card
    page = (tmp_path / "output" / "report.html").read_text()
    assert "by others" in page
    assert (tmp_path / "output" / cell["id"] / "quality.png").is_file()
