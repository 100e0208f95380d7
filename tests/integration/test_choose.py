"""`choose: smallest`: of several cells of a tiny model one is published, by this run and by later ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from quantize_lib.files import read_json, sha256_file
from tests.support.small_runs import ROOT, command, evaluation, manifest, report, save_tiny_model

CELLS: list[dict[str, Any]] = [{"method": "bitsandbytes", "bits": [8, 4]}, {"method": "gptq", "bits": 8}]
BNB8, BNB4, GPTQ8 = "tiny-bnb-8bit", "tiny-bnb-4bit", "tiny-gptq-8bit"


@dataclass(frozen=True)
class Run:
    """A manifest, where it lies and what became of it."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The report's cells, by id."""
        return report(self.folder / "out")

    @property
    def statuses(self) -> dict[str, str]:
        """Status by cell id."""
        return {cell_id: cell["status"] for cell_id, cell in self.cells.items()}

    @property
    def published(self) -> list[str]:
        """The repositories that there are."""
        return sorted(path.name for path in self.folder.glob("published/[!.]*"))


def run(folder: Path, *words: str) -> Run:
    """The command on a folder's manifest."""
    path = folder / "quantize.yml"
    return Run(folder, command("run", path, "--output", folder / "out", *words, cwd=folder))


def judged_by(folder: Path, **evaluate: Any) -> None:
    """Change the manifest's `evaluate`."""
    path = folder / "quantize.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["evaluate"] |= evaluate
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def files_of(folder: Path) -> Mapping[str, str]:
    """Every file below a folder with its hash."""
    return {str(p.relative_to(folder)): sha256_file(p) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path) -> Run:
    """The smallest misses its limit, the other two meet it. Read only."""
    folder = tmp_path_factory.mktemp("choose")
    model = save_tiny_model(folder / "model", calibration_text)
    judged = evaluation(held_out_text, choose="smallest", max_kl_divergence=0.01)
    manifest(folder, model, calibration_text, CELLS, evaluate=judged)
    return run(folder)


@pytest.fixture
def again(first: Run, tmp_path: Path) -> Path:
    """A copy of its folder, to be changed; the model stays where it is."""
    for name in ("out", "published"):
        shutil.copytree(first.folder / name, tmp_path / name)
    shutil.copy(first.folder / "quantize.yml", tmp_path)
    return tmp_path


def test_exactly_the_smallest_that_meets_the_limits_is_published(first: Run) -> None:
    assert first.done.returncode == 0, first.done.stderr
    assert first.published == [BNB8]
    assert first.statuses == {BNB8: "published", BNB4: "skipped", GPTQ8: "skipped"}
    sizes = {cell_id: cell["size_after"] for cell_id, cell in first.cells.items()}
    assert sizes[BNB4] < sizes[BNB8] < sizes[GPTQ8]


def test_report_and_summary_say_why_not_the_others(first: Run) -> None:
    document = read_json(first.folder / "out" / "report.json")
    Draft202012Validator(read_json(ROOT / "schemas" / "report.schema.json")).validate(document)
    too_far = first.cells[BNB4]["not_chosen"]
    assert re.fullmatch(
        r"KL divergence is 0\.0\d+ nats per token, more than the allowed 0\.01; "
        rf"{BNB8} is chosen in its place",
        too_far,
    )
    too_large = first.cells[GPTQ8]["not_chosen"]
    assert too_large == f"a smaller one, {BNB8}, meets the limits: 594.5 kB beside 601.4 kB"
    for cell_id, reason in ((BNB4, too_far), (GPTQ8, too_large)):
        cell = first.cells[cell_id]
        assert (cell["error"], cell["code"], cell["commit"]) == (None, None, None)
        assert f"{cell_id}: {reason}" in first.done.stdout
        assert cell["kl_divergence"] > 0
        # Kept, as everything that is finished.
        assert (first.folder / "out" / cell["path"] / "config.json").is_file()
    assert f"{BNB8} is chosen: the smallest of tiny that meets its limits" in first.done.stderr
    assert "choice" not in first.cells[BNB4]
    assert "not_chosen" not in first.cells[BNB8]


def test_the_next_runs_build_none_of_them(again: Path) -> None:
    before = files_of(again / "published")
    for folder in (again / "out", None):
        if folder is None:
            shutil.rmtree(again / "out")
        later = run(again)
        assert later.done.returncode == 0, later.done.stderr
        assert "Quantizing" not in later.done.stderr
        assert later.statuses == dict.fromkeys((BNB8, BNB4, GPTQ8), "skipped")
        assert later.cells[BNB8]["commit"] is not None
        assert "not_chosen" not in later.cells[BNB8]
        assert later.cells[BNB4]["not_chosen"] == (
            f"{BNB8} was chosen in its place, and nothing changed that the choice follows from"
        )
        assert files_of(again / "published") == before
    words = ("plan", again / "quantize.yml", "--changed-only", "--format", "github")
    assert command(*words, cwd=again).stdout.strip() == '{"include": []}'


def test_another_limit_is_another_choice_without_computing(again: Path) -> None:
    judged_by(again, max_kl_divergence=0.2)
    listed = command("plan", again / "quantize.yml", cwd=again).stdout
    assert listed.count("yes: ") == 3
    assert "yes: another cell or a limit of the model changed since the choice" in listed
    assert f"Of tiny the smallest that meets its limits: {BNB8}, {BNB4} or {GPTQ8}." in listed
    later = run(again)
    assert later.done.returncode == 0, later.done.stderr
    assert "Quantizing" not in later.done.stderr
    assert later.statuses == {BNB8: "skipped", BNB4: "published", GPTQ8: "skipped"}
    # What was published before is not ours to take away.
    assert later.published == [BNB4, BNB8]
    shutil.rmtree(again / "out")
    assert run(again).statuses == dict.fromkeys((BNB8, BNB4, GPTQ8), "skipped")


def test_the_same_one_by_other_limits_is_published_with_them(again: Path) -> None:
    judged_by(again, max_kl_divergence=0.02)
    assert run(again).statuses == {BNB8: "published", BNB4: "skipped", GPTQ8: "skipped"}
    shutil.rmtree(again / "out")
    later = run(again)
    assert "Quantizing" not in later.done.stderr
    assert later.statuses == dict.fromkeys((BNB8, BNB4, GPTQ8), "skipped")


def test_where_none_meets_the_limits_all_are_gated(again: Path) -> None:
    shutil.rmtree(again / "published")
    judged_by(again, max_kl_divergence=0)
    later = run(again)
    assert later.done.returncode == 4
    assert later.statuses == dict.fromkeys((BNB8, BNB4, GPTQ8), "gated")
    assert later.published == []
    assert "tiny: no cell meets its limits, so none is published" in later.done.stderr


def test_a_run_that_was_killed_before_the_choice_makes_the_same_one(first: Run, again: Path) -> None:
    shutil.rmtree(again / "published")
    (again / "out" / "report.json").unlink()
    later = run(again)
    assert "Quantizing" not in later.done.stderr
    assert later.statuses == first.statuses
    assert later.published == [BNB8]
    assert later.cells[BNB8]["choice"] == first.cells[BNB8]["choice"]


def test_publish_brings_out_the_chosen_one_alone(again: Path) -> None:
    shutil.rmtree(again / "published")
    unpublished = run(again, "--no-publish")
    assert unpublished.done.returncode == 0, unpublished.done.stderr
    assert unpublished.statuses == {BNB8: "built", BNB4: "skipped", GPTQ8: "skipped"}
    done = command("publish", again / "out", cwd=again)
    assert done.returncode == 0, done.stderr
    later = Run(again, done)
    assert later.published == [BNB8]
    assert later.statuses == {BNB8: "published", BNB4: "skipped", GPTQ8: "skipped"}
    assert f"{GPTQ8} is not published: a smaller one, {BNB8}," in done.stderr
    # And the next run knows.
    shutil.rmtree(again / "out")
    assert run(again).statuses == dict.fromkeys((BNB8, BNB4, GPTQ8), "skipped")


def test_cells_of_two_jobs_compete(first: Run, tmp_path: Path) -> None:
    document = yaml.safe_load((first.folder / "quantize.yml").read_text(encoding="utf-8"))
    document["models"][0]["quantize"] = [{**CELLS[1], "device": "cpu"}, {**CELLS[0], "bits": 8}]
    (tmp_path / "quantize.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    both = run(tmp_path)
    assert both.done.returncode == 0, both.done.stderr
    assert both.done.stderr.count("Quantizing: 2/2 blocks") == 2
    assert both.statuses == {GPTQ8: "skipped", BNB8: "published"}
    refused = command("plan", tmp_path / "quantize.yml", "--format", "github", cwd=tmp_path)
    assert refused.returncode == 2
    assert "tiny: `choose: smallest` compares cells that would go to different runners" in refused.stderr
