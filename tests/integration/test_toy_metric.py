"""A new metric is one new file: the whole command with a toy that the package does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.files import read_json
from tests.support.small_runs import evaluation, manifest
from tests.support.toy_package import ToyPackage

CELLS: list[dict[str, Any]] = [{"method": "bitsandbytes", "bits": [4, 8]}]
FOUR, EIGHT = "tiny-bnb-4bit", "tiny-bnb-8bit"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ToyPackage:
    return ToyPackage(tmp_path_factory.mktemp("package") / "copy", metric="metrics/toy.py")


@pytest.fixture(scope="module")
def run(
    package: ToyPackage,
    small_model: Path,
    calibration_text: Path,
    held_out_text: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The folder of a finished run of the real model's first two blocks, and what it printed."""
    folder = tmp_path_factory.mktemp("toy-metric")
    limits = evaluation(held_out_text, max_kl_divergence=5, min_top_two="85%")
    manifest(folder, small_model, calibration_text, CELLS, evaluate=limits)
    done = package.run("run", "quantize.yml", "--output", "out", cwd=folder)
    assert done.returncode in (0, 4), done.stderr
    assert package.others() == []
    return folder, done.stdout


def cells(folder: Path) -> dict[str, dict[str, Any]]:
    return {cell["id"]: cell for cell in read_json(folder / "out" / "report.json")["cells"]}


def test_its_figure_is_in_the_report_by_its_own_keys(run: tuple[Path, str]) -> None:
    for cell in cells(run[0]).values():
        figure = cell["figures"]["top_two"]
        assert 0.5 < cell["top_two"] == figure["after"] < 1
        assert (figure["before"], figure["unit"]) == (None, "share of positions")
        assert 0 < figure["standard_error"] < 0.2
        reload = cell["reload"]
        assert reload["sample_top_two"] == pytest.approx(reload["sample_top_two_pass"], abs=0.2)
        assert reload["reproduced"]
        assert cell["limits"] == {"max_kl_divergence": 5.0, "min_top_two": 0.85}
    shares = [cells(run[0])[name]["top_two"] for name in (FOUR, EIGHT)]
    assert shares[0] < shares[1]


def test_card_and_table_show_it(run: tuple[Path, str]) -> None:
    folder, printed = run
    for name, cell in cells(folder).items():
        share = f"{cell['top_two']:.1%}"
        card = (folder / "out" / name / "README.md").read_text(encoding="utf-8")
        assert f"| Top-two agreement | – | {share} |" in card
        assert "top-token agreement and top-two agreement: on" in card
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert share in line
    assert "top two" in printed.splitlines()[0]


def test_its_limit_is_judged(package: ToyPackage, run: tuple[Path, str]) -> None:
    folder, _ = run
    for cell in cells(folder).values():
        share = cell["top_two"]
        if share >= 0.85:
            assert (cell["status"], cell["error"]) == ("published", None)
        else:
            assert (cell["status"], cell["code"]) == ("gated", "gate")
            missed = f"top-two agreement is {share:.4g}, less than the least allowed 0.85"
            assert cell["error"].startswith(missed)
    text = (folder / "quantize.yml").read_text(encoding="utf-8")
    (folder / "quantize.yml").write_text(text.replace("85%", "100%"), encoding="utf-8")
    again = package.run("run", "quantize.yml", "--output", "out", cwd=folder)
    assert again.returncode == 4, again.stderr
    assert "Quantizing" not in again.stderr
    assert {cell["status"] for cell in cells(folder).values()} == {"gated"}
    (folder / "quantize.yml").write_text(text, encoding="utf-8")


def test_plan_and_messages_know_its_limit(package: ToyPackage, run: tuple[Path, str]) -> None:
    folder, _ = run
    done = package.run("plan", "quantize.yml", "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["evaluate"]["min_top_two"] == 0.85
    text = (folder / "quantize.yml").read_text(encoding="utf-8")
    (folder / "wrong.yml").write_text(text.replace("85%", "lots"), encoding="utf-8")
    wrong = package.run("validate", "wrong.yml", cwd=folder)
    assert wrong.returncode == 2
    assert "`lots` is not a share; write a percentage such as 90%" in wrong.stderr


def test_the_schemas_that_others_read_still_hold_its_report(run: tuple[Path, str]) -> None:
    """Keys may be added: a report with a metric more is one that the shipped schema takes."""
    folder, _ = run
    schema = read_json(Path(__file__).parents[2] / "schemas" / "report.schema.json")
    Draft202012Validator(schema).validate(read_json(folder / "out" / "report.json"))


def test_evaluate_measures_what_needs_no_base_model(
    package: ToyPackage, run: tuple[Path, str], held_out_text: Path
) -> None:
    folder, _ = run
    words = ("--text", held_out_text, "--samples", "2", "--sequence-length", "32")
    done = package.run("evaluate", folder / "out" / EIGHT, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["perplexity"] > 0
    assert "top_two" not in measured
